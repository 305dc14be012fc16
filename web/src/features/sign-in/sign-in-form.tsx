import { Link } from "@tanstack/react-router";

import { answer, api } from "@/api/client";
import type { components } from "@/api/schema";
import { Button } from "@/components/ui/button";
import { Field, PasswordField } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { paths } from "@/lib/paths";
import { checkSignIn } from "./checks";

type Login = components["schemas"]["LoginAnswer"];
type Challenge = components["schemas"]["ChallengeAnswer"];

interface SignInFormProps {
  onSignedIn: (login: Login) => void;
  /** The password was right, and a code is awaited. */
  onChallenge: (challenge: Challenge) => void;
}

/** Address and password. */
export function SignInForm({ onSignedIn, onChallenge }: SignInFormProps) {
  const form = useForm({
    check: checkSignIn,
    send: ({ email = "", password = "" }) => answer<Login | Challenge>(api.POST("/api/auth/login", { body: { email, password } })),
    done: (result) => ("challenge" in result ? onChallenge(result) : onSignedIn(result)),
  });
  return (
    <Form form={form}>
      <Field {...form.field("email")} label="Email" type="email" autoComplete="username" />
      <PasswordField {...form.field("password")} label="Password" autoComplete="current-password" />
      <div className="text-right text-sm">
        <Link to={paths.forgotPassword} className="text-accent hover:underline">
          Forgot your password?
        </Link>
      </div>
      <Button type="submit" isBusy={form.isBusy} className="w-full">
        Sign in
      </Button>
    </Form>
  );
}
