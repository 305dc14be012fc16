import { Eye, EyeOff } from "lucide-react";
import {
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
  useState,
} from "react";

import { classes } from "@/lib/classes";

interface Around {
  label: string;
  /** What is wrong with the value: shown below and read out. */
  error?: string | undefined;
  /** A sentence of help. */
  hint?: ReactNode;
}

const BOX =
  "w-full rounded-lg border bg-surface px-3 text-base text-ink placeholder:text-soft disabled:bg-raised disabled:text-soft sm:text-sm";

function boxClasses(error: string | undefined, height: string): string {
  return classes(BOX, height, error === undefined ? "border-edge" : "border-danger");
}

/** Names, helps and complains around one control, which takes the attributes. */
function Labelled({
  label,
  error,
  hint,
  children,
}: Around & { children: (attributes: { id: string; "aria-invalid"?: true; "aria-describedby"?: string }) => ReactNode }) {
  const id = useId();
  const described = [hint !== undefined && `${id}-hint`, error !== undefined && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div>
      <label htmlFor={id} className="mb-1.5 block text-sm font-medium">
        {label}
      </label>
      {children({
        id,
        ...(error !== undefined && { "aria-invalid": true as const }),
        ...(described !== "" && { "aria-describedby": described }),
      })}
      {hint !== undefined && (
        <p id={`${id}-hint`} className="mt-1.5 text-sm text-soft">
          {hint}
        </p>
      )}
      {error !== undefined && (
        <p id={`${id}-error`} className="mt-1.5 text-sm text-danger">
          {error}
        </p>
      )}
    </div>
  );
}

/** One line of text with its label. */
export function Field({ label, error, hint, ...rest }: Around & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <Labelled label={label} error={error} hint={hint}>
      {(attributes) => <input {...attributes} {...rest} className={boxClasses(error, "h-10")} />}
    </Labelled>
  );
}

/** A password that can be looked at. */
export function PasswordField({ label, error, hint, ...rest }: Around & InputHTMLAttributes<HTMLInputElement>) {
  const [isShown, setShown] = useState(false);
  const Icon = isShown ? EyeOff : Eye;
  return (
    <Labelled label={label} error={error} hint={hint}>
      {(attributes) => (
        <div className="relative">
          <input
            {...attributes}
            {...rest}
            type={isShown ? "text" : "password"}
            autoCapitalize="none"
            spellCheck={false}
            className={classes(boxClasses(error, "h-10"), "pr-11")}
          />
          <button
            type="button"
            aria-label={`Show ${label.toLowerCase()}`}
            aria-pressed={isShown}
            onClick={() => setShown(!isShown)}
            className="absolute inset-y-0 right-0 flex w-10 items-center justify-center rounded-lg text-soft hover:text-ink"
          >
            <Icon aria-hidden className="size-4" />
          </button>
        </div>
      )}
    </Labelled>
  );
}

/** Several lines of text with their label. */
export function TextArea({ label, error, hint, ...rest }: Around & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return (
    <Labelled label={label} error={error} hint={hint}>
      {(attributes) => <textarea rows={4} {...attributes} {...rest} className={boxClasses(error, "py-2")} />}
    </Labelled>
  );
}

/** One of several, with its label; the options are children. */
export function Select({ label, error, hint, ...rest }: Around & SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <Labelled label={label} error={error} hint={hint}>
      {(attributes) => <select {...attributes} {...rest} className={boxClasses(error, "h-10")} />}
    </Labelled>
  );
}

/** Yes or no, with what it means. */
export function Checkbox({
  label,
  hint,
  ...rest
}: Omit<Around, "error"> & Omit<InputHTMLAttributes<HTMLInputElement>, "type">) {
  const id = useId();
  return (
    <div className="flex items-start gap-3">
      <input
        id={id}
        type="checkbox"
        {...rest}
        aria-describedby={hint === undefined ? undefined : `${id}-hint`}
        className="mt-0.5 size-4 shrink-0 accent-accent"
      />
      <div>
        <label htmlFor={id} className="block text-sm font-medium">
          {label}
        </label>
        {hint !== undefined && (
          <p id={`${id}-hint`} className="text-sm text-soft">
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}
