import { useState } from "react";

import type { components } from "@/api/schema";
import { CodeLine } from "@/components/code-line";
import { Alert } from "@/components/ui/alert";
import { Button } from "@/components/ui/button";
import { Dialog, DialogActions } from "@/components/ui/dialog";
import { Field } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { KeyFields } from "./key-fields";
import { type KeyInfo, type Wanted, readKey, textsOf } from "./key-form";

export type NewKey = components["schemas"]["NewKey"];

interface FormDialogProps<Result> {
  /** The key to be changed; none: a new one. */
  of?: KeyInfo;
  timeZone: string;
  send: (wanted: Wanted) => Promise<Result>;
  done: (result: Result) => void;
  onClose: () => void;
}

/** Makes a key, or changes one. A new one needs a name; its limits wait behind a button. */
export function KeyFormDialog<Result>({ of, timeZone, send, done, onClose }: FormDialogProps<Result>) {
  const [hasLimits, setHasLimits] = useState(of !== undefined);
  const texts = textsOf(of, timeZone);
  const form = useForm({
    check: (values) => readKey(values, timeZone).problems,
    send: (values) => {
      const { wanted } = readKey(values, timeZone);
      // Its field shows minutes and may be past: what was not touched is left alone.
      return send(values["expiresAt"] === texts.expiresAt ? { ...wanted, expiresAt: undefined } : wanted);
    },
    done,
  });
  return (
    <Dialog title={of ? `Change ${of.name}` : "New API key"} onClose={onClose}>
      <Form form={form}>
        <Field
          {...form.field("name")}
          defaultValue={texts.name}
          label="Name"
          maxLength={100}
          autoComplete="off"
          hint={of ? undefined : "For you to tell your keys apart, such as the program that uses it"}
        />
        {hasLimits ? (
          <KeyFields form={form} texts={texts} hasIpLogin={of?.ipLogin ?? false} timeZone={timeZone} />
        ) : (
          <Button look="secondary" size="small" onClick={() => setHasLimits(true)}>
            Set limits
          </Button>
        )}
        <DialogActions>
          <Button look="secondary" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" isBusy={form.isBusy}>
            {of ? "Save changes" : "Create key"}
          </Button>
        </DialogActions>
      </Form>
    </Dialog>
  );
}

interface SecretDialogProps {
  created: NewKey;
  /** `http://USER:API_KEY@host:port`; none: not known. */
  connection: string | undefined;
  onClose: () => void;
}

/** Shows the secret of a new key, this once. */
export function SecretDialog({ created, connection, onClose }: SecretDialogProps) {
  return (
    <Dialog title={`Your key ${created.name}`} onClose={onClose} isSticky>
      <div className="space-y-5">
        <Alert kind="warning">Save this key now: it is not shown again.</Alert>
        <CodeLine label="Key" text={created.key} />
        {connection !== undefined && (
          <CodeLine label="Command" text={`curl -x ${connection.replace("API_KEY", created.key)} https://example.com/`} />
        )}
      </div>
      <DialogActions>
        <Button onClick={onClose}>I saved it</Button>
      </DialogActions>
    </Dialog>
  );
}
