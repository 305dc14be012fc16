import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "@/api/client";
import { useDocumentTitle } from "@/components/page";
import { Alert } from "@/components/ui/alert";
import { Button } from "@/components/ui/button";
import { Field } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { paths } from "@/lib/paths";
import { checkEmail } from "./checks";
import { Notice } from "./notice";

/** Asks for the mail that sets a new password. The answer is alike for every address. */
export function ForgotPasswordPage() {
  useDocumentTitle("Forgot password");
  const [said, setSaid] = useState<string>();
  const form = useForm({
    check: checkEmail,
    send: ({ email = "" }) => answer(api.POST("/api/auth/forgot-password", { body: { email } })),
    done: ({ message }) => setSaid(message),
  });
  return (
    <Notice title="Forgot your password?">
      {said === undefined ? (
        <>
          <p className="text-center text-sm text-soft">We mail you a link to set a new one. It works for an hour.</p>
          <Form form={form}>
            <Field {...form.field("email")} label="Email" type="email" autoComplete="username" />
            <Button type="submit" isBusy={form.isBusy} className="w-full">
              Send reset link
            </Button>
          </Form>
        </>
      ) : (
        <Alert kind="good" title="Look into your mail">
          {said}.
        </Alert>
      )}
      <p className="text-center text-sm">
        <Link to={paths.login} className="text-accent hover:underline">
          Back to sign-in
        </Link>
      </p>
    </Notice>
  );
}
