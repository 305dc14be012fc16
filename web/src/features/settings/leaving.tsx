import { Download } from "lucide-react";
import { useState } from "react";

import type { components } from "@/api/schema";
import { Button, buttonClasses } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Dialog, DialogActions } from "@/components/ui/dialog";
import { Field, PasswordField } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";

type Farewell = components["schemas"]["FarewellBody"];

interface Props {
  email: string;
  hasTwoFactor: boolean;
  /** Deletes the account. */
  leave: (farewell: Farewell) => Promise<unknown>;
  /** What follows. */
  onGone: () => void;
}

/** Taking one's data along, and leaving. */
export function Leaving({ email, hasTwoFactor, leave, onGone }: Props) {
  const [isAsking, setAsking] = useState(false);
  return (
    <Card title="Your data">
      <div className="space-y-5 text-sm">
        <div className="flex flex-wrap items-center justify-between gap-3">
          <p className="max-w-xl text-soft">Everything that we hold of you, as one JSON document. Secrets are not in it.</p>
          <a href="/api/auth/export" download="iploop-export.json" className={buttonClasses("secondary")}>
            <Download aria-hidden className="size-4" />
            Export my data
          </a>
        </div>
        <div className="flex flex-wrap items-center justify-between gap-3 border-t border-line pt-5">
          <p className="max-w-xl text-soft">
            Deletes the account at once and for good: keys, connections and logins end, what is personal is erased, and what is left of the balance is lost.
          </p>
          <Button look="danger" onClick={() => setAsking(true)}>
            Delete account
          </Button>
        </div>
      </div>
      {isAsking && (
        <FarewellDialog email={email} hasTwoFactor={hasTwoFactor} leave={leave} onGone={onGone} onClose={() => setAsking(false)} />
      )}
    </Card>
  );
}

function FarewellDialog({ email, hasTwoFactor, leave, onGone, onClose }: Props & { onClose: () => void }) {
  const form = useForm({
    send: ({ password = "", confirmEmail = "", code }) => {
      const farewell: Farewell = { password, confirmEmail: confirmEmail.trim() };
      return leave(code === undefined ? farewell : { ...farewell, code: code.trim() });
    },
    done: onGone,
  });
  return (
    <Dialog title="Delete this account?" onClose={onClose}>
      <Form form={form}>
        <p className="text-sm">
          This can’t be undone. To confirm, write <strong className="wrap-anywhere">{email}</strong> and your password.
        </p>
        <Field {...form.field("confirmEmail")} label="Email" type="email" autoComplete="off" />
        <PasswordField {...form.field("password")} label="Password" autoComplete="current-password" />
        {hasTwoFactor && (
          <Field {...form.field("code")} label="Code" autoComplete="one-time-code" hint="Of the authenticator, or a recovery code." />
        )}
        <DialogActions>
          <Button look="secondary" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" look="danger" isBusy={form.isBusy}>
            Delete {email}
          </Button>
        </DialogActions>
      </Form>
    </Dialog>
  );
}
