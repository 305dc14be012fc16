import { useState } from "react";

import { Card } from "@/components/ui/card";
import { PasswordField } from "@/components/ui/field";
import { type FieldErrors, Form, type Values, useForm } from "@/components/ui/form";
import { SaveBar } from "./saved";

interface Props {
  /** For password managers. */
  email: string;
  save: (passwords: { currentPassword: string; newPassword: string }) => Promise<unknown>;
}

/** Sets another password, which ends every other login. */
export function PasswordForm({ email, save }: Props) {
  const [saved, setSaved] = useState(0);
  const form = useForm({
    check,
    send: ({ currentPassword = "", newPassword = "" }) => save({ currentPassword, newPassword }),
    done: () => setSaved(saved + 1),
  });
  return (
    <Card title="Password" description="Another password signs you out everywhere else.">
      <Form form={form}>
        <input hidden readOnly autoComplete="username" value={email} />
        {/* Anew after each success: what was typed is forgotten. */}
        <div key={saved} className="space-y-4">
          <PasswordField {...form.field("currentPassword")} label="Current password" autoComplete="current-password" />
          <PasswordField {...form.field("newPassword")} label="New password" autoComplete="new-password" hint="At least 8 characters." />
          <PasswordField {...form.field("confirm")} label="Confirm new password" autoComplete="new-password" />
        </div>
        <SaveBar label="Change password" isBusy={form.isBusy} isSaved={saved > 0} />
      </Form>
    </Card>
  );
}

function check({ currentPassword = "", newPassword = "", confirm = "" }: Values): FieldErrors {
  if (currentPassword === "") return { currentPassword: "Write your current password" };
  if (newPassword === "") return { newPassword: "Write a new password" };
  return confirm === newPassword ? {} : { confirm: "The passwords differ" };
}
