import { useState } from "react";

import { answer, api } from "@/api/client";
import { ApiError } from "@/api/problem";
import type { components } from "@/api/schema";
import { useDocumentTitle } from "@/components/page";
import { Button } from "@/components/ui/button";
import { Field } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { checkCode } from "./checks";

interface CodeFormProps {
  challenge: components["schemas"]["ChallengeAnswer"];
  onSignedIn: (login: components["schemas"]["LoginAnswer"]) => void;
  /** Begin again with the password. */
  onBack: () => void;
}

/** The second step of signing in: a code of the authenticator, or one of the recovery codes. */
export function CodeForm({ challenge, onSignedIn, onBack }: CodeFormProps) {
  useDocumentTitle("Two-factor authentication");
  const [isRecovery, setRecovery] = useState(false);
  const form = useForm({
    check: checkCode,
    send: ({ code = "" }) =>
      answer(api.POST("/api/auth/login/two-factor", { body: { challenge: challenge.challenge, code: code.trim() } })),
    done: onSignedIn,
  });
  const isTooLate = form.error instanceof ApiError && form.error.code === "challenge_invalid";
  return (
    <>
      <h1 className="text-center text-xl font-semibold tracking-tight">Two-factor authentication</h1>
      <p className="mt-2 mb-6 text-center text-sm text-soft">
        {isRecovery
          ? "Enter one of the recovery codes that you kept. Each works once."
          : "Enter the six digits that your authenticator app shows."}
      </p>
      <Form form={form}>
        {isRecovery ? (
          <Field
            key="recovery"
            {...form.field("code")}
            label="Recovery code"
            autoFocus
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
          />
        ) : (
          <Field
            key="code"
            {...form.field("code")}
            label="Authentication code"
            // What was pressed before is gone: whoever types goes on here.
            autoFocus
            autoComplete="one-time-code"
            inputMode="numeric"
            maxLength={7}
          />
        )}
        <Button type="submit" isBusy={form.isBusy} disabled={isTooLate} className="w-full">
          Verify
        </Button>
        <div className="flex flex-wrap justify-between gap-x-4 gap-y-2 text-sm">
          <button type="button" onClick={() => setRecovery(!isRecovery)} className="text-accent hover:underline">
            {isRecovery ? "Use the authenticator" : "Use a recovery code"}
          </button>
          <button type="button" onClick={onBack} className="text-accent hover:underline">
            Begin again
          </button>
        </div>
      </Form>
    </>
  );
}
