import { useMutation } from "@tanstack/react-query";
import { type FormEvent, type FormHTMLAttributes, useState } from "react";

import { ApiError } from "@/api/problem";
import { wait } from "@/lib/format";
import { Alert } from "./alert";

/** What was typed, by field; a box that is not ticked is absent. */
export type Values = Record<string, string>;
/** What is wrong, by field. */
export type FieldErrors = Record<string, string>;

interface FormOptions<Result> {
  /** What the browser can tell is wrong before anything is sent. The API has the last word. */
  check?: (values: Values) => FieldErrors;
  /** The call. */
  send: (values: Values) => Promise<Result>;
  /** What follows a success. */
  done?: (result: Result, values: Values) => void | Promise<void>;
}

/**
 * A form that is checked, sent once at a time, and shows what the API says of each field beside it.
 *
 *     const form = useForm({ send: (values) => answer(api.POST(…, { body: { name: values.name ?? "" } })), done: close });
 *     <Form form={form}><Field {...form.field("name")} label="Name" /><Button type="submit" isBusy={form.isBusy}>Create</Button></Form>
 */
export function useForm<Result>({ check, send, done }: FormOptions<Result>) {
  const [errors, setErrors] = useState<FieldErrors>({});
  const call = useMutation({ mutationFn: send });

  /** Shows them, and goes to the first. */
  const complain = (element: HTMLFormElement, wrong: FieldErrors) => {
    setErrors(wrong);
    const first = [...element.elements].find((control) => "name" in control && String(control.name) in wrong);
    if (first instanceof HTMLElement) first.focus();
  };

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (call.isPending) return;
    const element = event.currentTarget;
    const values = read(element);
    const wrong = check?.(values) ?? {};
    complain(element, wrong);
    if (Object.keys(wrong).length > 0) {
      call.reset();
      return;
    }
    let result: Result;
    try {
      result = await call.mutateAsync(values);
    } catch (error) {
      if (error instanceof ApiError) complain(element, { ...error.fields });
      return;
    }
    await done?.(result, values);
  };

  return {
    submit,
    /** Whether the call is under way. */
    isBusy: call.isPending,
    /** Why the call failed, the fields apart. */
    error: call.error,
    /** Name and error of a field, to be spread into it. */
    field: (name: string) => ({ name, error: errors[name] }),
  };
}

function read(form: HTMLFormElement): Values {
  const entries = [...new FormData(form)].flatMap(([name, value]) => (typeof value === "string" ? [[name, value] as const] : []));
  return Object.fromEntries(entries);
}

interface FormProps extends Omit<FormHTMLAttributes<HTMLFormElement>, "onSubmit"> {
  form: ReturnType<typeof useForm>;
}

/** The form's element, with what went wrong above its fields. */
export function Form({ form, children, ...rest }: FormProps) {
  return (
    <form noValidate className="space-y-4" {...rest} onSubmit={(event) => void form.submit(event)}>
      <ErrorAlert error={form.error} />
      {children}
    </form>
  );
}

/** What went wrong, in the API's words, and when to try again. Errors that stand beside their fields are not repeated. */
export function ErrorAlert({ error }: { error: Error | null }) {
  if (error === null) return null;
  if (!(error instanceof ApiError)) return <Alert kind="danger">Something went wrong in this page. Reload it and try again.</Alert>;
  if (Object.keys(error.fields).length > 0) return null;
  return (
    <Alert kind="danger">
      {sentence(error.detail)}
      {error.retryAfter !== undefined && ` Try again in ${wait(error.retryAfter)}.`}
    </Alert>
  );
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
