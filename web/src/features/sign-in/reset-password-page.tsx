import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "@/api/client";
import { useDocumentTitle } from "@/components/page";
import { Alert } from "@/components/ui/alert";
import { Button, buttonClasses } from "@/components/ui/button";
import { PasswordField } from "@/components/ui/field";
import { ErrorAlert, Form, useForm } from "@/components/ui/form";
import { SkeletonLines } from "@/components/ui/skeleton";
import { paths } from "@/lib/paths";
import { MIN_PASSWORD, checkNewPassword } from "./checks";
import { Notice } from "./notice";

/** Sets a new password with the token of a mail. */
export function ResetPasswordPage() {
  useDocumentTitle("Reset password");
  const { token = "" } = useSearch({ from: `/entry${paths.resetPassword}` });
  const [isDone, setDone] = useState(false);
  const isGood = useQuery({
    queryKey: ["reset-token", token],
    queryFn: () => answer(api.GET("/api/auth/verify-reset-token", { params: { query: { token } } })),
    enabled: token !== "",
  });
  if (isDone) {
    return (
      <Notice title="Reset password">
        <Alert kind="good">Your password is set, and every login of before has ended.</Alert>
        <Link to={paths.login} className={`${buttonClasses()} w-full`}>
          Sign in
        </Link>
      </Notice>
    );
  }
  if (token === "" || isGood.isError) {
    return (
      <Notice title="Reset password">
        {token === "" ? <Alert kind="danger">The link is not complete. Open it as it stands in the mail.</Alert> : <ErrorAlert error={isGood.error} />}
        <Link to={paths.forgotPassword} className={`${buttonClasses("secondary")} w-full`}>
          Ask for a new mail
        </Link>
      </Notice>
    );
  }
  return (
    <Notice title="Reset password">
      {isGood.isPending ? <SkeletonLines /> : <NewPasswordForm token={token} onDone={() => setDone(true)} />}
    </Notice>
  );
}

function NewPasswordForm({ token, onDone }: { token: string; onDone: () => void }) {
  const form = useForm({
    check: checkNewPassword,
    send: ({ password = "" }) => answer(api.POST("/api/auth/reset-password", { body: { token, password } })),
    done: onDone,
  });
  return (
    <Form form={form}>
      <PasswordField
        {...form.field("password")}
        label="New password"
        autoComplete="new-password"
        hint={`At least ${MIN_PASSWORD} characters.`}
      />
      <PasswordField {...form.field("confirm")} label="Confirm password" autoComplete="new-password" />
      <Button type="submit" isBusy={form.isBusy} className="w-full">
        Reset password
      </Button>
    </Form>
  );
}
