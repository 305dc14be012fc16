import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";

import { answer, api } from "@/api/client";
import { sessionQuery } from "@/api/session";
import { useDocumentTitle } from "@/components/page";
import { Alert } from "@/components/ui/alert";
import { Button, buttonClasses } from "@/components/ui/button";
import { ErrorAlert } from "@/components/ui/form";
import { paths } from "@/lib/paths";
import { Notice } from "./notice";

/** Proves the mail address with the token of a mail. By a button: programs that look at links in mails must prove nothing. */
export function VerifyEmailPage() {
  useDocumentTitle("Verify your email");
  const { token = "" } = useSearch({ from: `/entry${paths.verifyEmail}` });
  const queries = useQueryClient();
  const verify = useMutation({
    mutationFn: () => answer(api.POST("/api/auth/verify-email", { body: { token } })),
    onSuccess: () => queries.invalidateQueries(sessionQuery),
  });
  const toDashboard = (
    <Link to={paths.overview} className={`${buttonClasses(verify.isSuccess ? "primary" : "secondary")} w-full`}>
      Go to the dashboard
    </Link>
  );
  if (verify.isSuccess) {
    return (
      <Notice title="Verify your email">
        <Alert kind="good">Your email address is verified; the proxy is open.</Alert>
        {toDashboard}
      </Notice>
    );
  }
  if (token === "" || verify.isError) {
    return (
      <Notice title="Verify your email">
        {token === "" ? <Alert kind="danger">The link is not complete. Open it as it stands in the mail.</Alert> : <ErrorAlert error={verify.error} />}
        <p className="text-center text-sm text-soft">The dashboard can send another mail.</p>
        {toDashboard}
      </Notice>
    );
  }
  return (
    <Notice title="Verify your email">
      <p className="text-center text-sm text-soft">Press the button to confirm that this address is yours.</p>
      <Button isBusy={verify.isPending} onClick={() => verify.mutate()} className="w-full">
        Verify my email
      </Button>
    </Notice>
  );
}
