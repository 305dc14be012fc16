import { answer, api } from "@/api/client";
import type { components } from "@/api/schema";
import { Button } from "@/components/ui/button";
import { Field, PasswordField } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { MIN_PASSWORD, checkSignUp } from "./checks";

/** A new account, signed in at once; its address is proven by mail later. */
export function SignUpForm({ onSignedIn }: { onSignedIn: (login: components["schemas"]["LoginAnswer"]) => void }) {
  const form = useForm({
    check: checkSignUp,
    send: ({ email = "", password = "", firstName = "", lastName = "", company = "" }) =>
      answer(
        api.POST("/api/auth/register", {
          body: { email, password, firstName, lastName, company: company.trim() === "" ? null : company },
        }),
      ),
    done: onSignedIn,
  });
  return (
    <Form form={form}>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field {...form.field("firstName")} label="First name" autoComplete="given-name" />
        <Field {...form.field("lastName")} label="Last name" autoComplete="family-name" />
      </div>
      <Field {...form.field("email")} label="Email" type="email" autoComplete="username" />
      <Field {...form.field("company")} label="Company (optional)" autoComplete="organization" />
      <PasswordField
        {...form.field("password")}
        label="Password"
        autoComplete="new-password"
        hint={`At least ${MIN_PASSWORD} characters.`}
      />
      <PasswordField {...form.field("confirm")} label="Confirm password" autoComplete="new-password" />
      <Button type="submit" isBusy={form.isBusy} className="w-full">
        Create account
      </Button>
    </Form>
  );
}
