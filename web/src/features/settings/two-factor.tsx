import { useState } from "react";

import type { components } from "@/api/schema";
import { CodeLine } from "@/components/code-line";
import { Alert } from "@/components/ui/alert";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { CopyButton } from "@/components/ui/copy-button";
import { Dialog, DialogActions } from "@/components/ui/dialog";
import { Field, PasswordField } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { plural } from "@/lib/format";
import { QrCode } from "./qr-code";
import type { Security, SetUp } from "./queries";

type Proof = components["schemas"]["ProofBody"];
type Codes = components["schemas"]["RecoveryCodesAnswer"];

export interface TwoFactorCalls {
  setUp: (password: string) => Promise<SetUp>;
  confirm: (code: string) => Promise<Codes>;
  end: (proof: Proof) => Promise<unknown>;
  newCodes: (proof: Proof) => Promise<Codes>;
}

/** What is open over the page. */
type Open =
  | { what: "password" | "end" | "newCodes" }
  | { what: "scan"; secret: SetUp }
  | { what: "codes"; codes: string[] };

/** The second factor: on, off, and what to do when the authenticator is lost. */
export function TwoFactor({ security, calls }: { security: Security; calls: TwoFactorCalls }) {
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);
  const showCodes = ({ recoveryCodes }: Codes) => setOpen({ what: "codes", codes: recoveryCodes });
  const isOn = security.twoFactorEnabled;
  return (
    <Card
      title="Two-factor authentication"
      description="A code of an authenticator app is asked for besides the password."
      action={isOn ? <Badge kind="good">On</Badge> : <Badge>Off</Badge>}
    >
      <div className="space-y-4">
        {isOn && (
          <p className="text-sm text-soft">
            {plural(security.recoveryCodesLeft ?? 0, "recovery code")} left, for the day when the authenticator is lost.
          </p>
        )}
        <div className="flex flex-wrap gap-2">
          {isOn ? (
            <>
              <Button look="secondary" onClick={() => setOpen({ what: "newCodes" })}>
                New recovery codes
              </Button>
              <Button look="secondary" onClick={() => setOpen({ what: "end" })}>
                Turn off
              </Button>
            </>
          ) : (
            <Button onClick={() => setOpen({ what: "password" })}>Set up</Button>
          )}
        </div>
      </div>
      {open?.what === "password" && (
        <PasswordDialog send={calls.setUp} done={(secret) => setOpen({ what: "scan", secret })} onClose={close} />
      )}
      {open?.what === "scan" && <ScanDialog secret={open.secret} send={calls.confirm} done={showCodes} onClose={close} />}
      {open?.what === "newCodes" && (
        <ProofDialog title="New recovery codes" verb="Make new codes" send={calls.newCodes} done={showCodes} onClose={close}>
          All earlier recovery codes stop working.
        </ProofDialog>
      )}
      {open?.what === "end" && (
        <ProofDialog title="Turn off two-factor authentication?" verb="Turn off" send={calls.end} done={close} onClose={close}>
          The password alone signs in from then on. Secret and recovery codes are forgotten.
        </ProofDialog>
      )}
      {open?.what === "codes" && <CodesDialog codes={open.codes} onClose={close} />}
    </Card>
  );
}

interface StepProps<Result> {
  done: (result: Result) => void;
  onClose: () => void;
}

function PasswordDialog({ send, done, onClose }: StepProps<SetUp> & { send: TwoFactorCalls["setUp"] }) {
  const form = useForm({ send: ({ password = "" }) => send(password), done });
  return (
    <Dialog title="Set up two-factor authentication" onClose={onClose}>
      <Form form={form}>
        <PasswordField {...form.field("password")} label="Your password" autoComplete="current-password" />
        <Actions verb="Go on" isBusy={form.isBusy} onClose={onClose} />
      </Form>
    </Dialog>
  );
}

function ScanDialog({ secret, send, done, onClose }: StepProps<Codes> & { secret: SetUp; send: TwoFactorCalls["confirm"] }) {
  const form = useForm({ send: ({ code = "" }) => send(code.trim()), done });
  return (
    <Dialog title="Scan this with your authenticator" onClose={onClose}>
      <Form form={form}>
        <div className="flex justify-center">
          <QrCode svg={secret.qrSvg} label="QR code of the secret" />
        </div>
        <CodeLine label="Secret" text={secret.secret} />
        <CodeField form={form} hint="The six digits that the authenticator shows. Your other logins end." />
        <Actions verb="Turn on" isBusy={form.isBusy} onClose={onClose} />
      </Form>
    </Dialog>
  );
}

interface ProofProps<Result> extends StepProps<Result> {
  title: string;
  verb: string;
  send: (proof: Proof) => Promise<Result>;
  children: string;
}

function ProofDialog<Result>({ title, verb, send, done, onClose, children }: ProofProps<Result>) {
  const form = useForm({ send: ({ password = "", code = "" }) => send({ password, code: code.trim() }), done });
  return (
    <Dialog title={title} onClose={onClose}>
      <Form form={form}>
        <p className="text-sm">{children}</p>
        <PasswordField {...form.field("password")} label="Your password" autoComplete="current-password" />
        <CodeField form={form} hint="Of the authenticator, or a recovery code." />
        <Actions verb={verb} isBusy={form.isBusy} onClose={onClose} />
      </Form>
    </Dialog>
  );
}

function CodeField({ form, hint }: { form: Pick<ReturnType<typeof useForm>, "field">; hint: string }) {
  return <Field {...form.field("code")} label="Code" autoComplete="one-time-code" hint={hint} />;
}

function CodesDialog({ codes, onClose }: { codes: string[]; onClose: () => void }) {
  return (
    <Dialog title="Your recovery codes" onClose={onClose} isSticky>
      <div className="space-y-4">
        <Alert kind="warning">Save these codes now: they are not shown again. Each signs in once.</Alert>
        <ul aria-label="Recovery codes" className="grid grid-cols-2 gap-2 rounded-lg bg-raised p-4 font-mono text-sm">
          {codes.map((code) => (
            <li key={code}>{code}</li>
          ))}
        </ul>
        <CopyButton text={codes.join("\n")} label="Copy all" />
      </div>
      <DialogActions>
        <Button onClick={onClose}>I saved them</Button>
      </DialogActions>
    </Dialog>
  );
}

function Actions({ verb, isBusy, onClose }: { verb: string; isBusy: boolean; onClose: () => void }) {
  return (
    <DialogActions>
      <Button look="secondary" onClick={onClose}>
        Cancel
      </Button>
      <Button type="submit" isBusy={isBusy}>
        {verb}
      </Button>
    </DialogActions>
  );
}
