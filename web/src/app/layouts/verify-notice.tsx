import { useMutation } from "@tanstack/react-query";

import { answer, api } from "@/api/client";
import { Alert } from "@/components/ui/alert";
import { Button } from "@/components/ui/button";
import { ErrorAlert } from "@/components/ui/form";

/** The proxy is shut until the address is verified: says so, and sends another mail. */
export function VerifyNotice({ email }: { email: string }) {
  const resend = useMutation({ mutationFn: () => answer(api.POST("/api/auth/resend-verification")) });
  return (
    <div className="mx-auto max-w-6xl space-y-3">
      <Alert
        kind="warning"
        title="Verify your email address"
        action={
          resend.isSuccess ? undefined : (
            <Button look="secondary" size="small" isBusy={resend.isPending} onClick={() => resend.mutate()}>
              Send another mail
            </Button>
          )
        }
      >
        {resend.isSuccess
          ? `Another mail is on its way to ${email}. Earlier links stop working when it arrives.`
          : `The proxy opens once you follow the link that we sent to ${email}.`}
      </Alert>
      <ErrorAlert error={resend.error} />
    </div>
  );
}
