import { useState } from "react";

import type { components } from "@/api/schema";
import type { User } from "@/api/session";
import { Card } from "@/components/ui/card";
import { Field, Select } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { SaveBar } from "./saved";

interface Props {
  user: User;
  save: (profile: components["schemas"]["ProfileBody"]) => Promise<unknown>;
}

/** Who the account is, and in which time zone its days begin. */
export function ProfileForm({ user, save }: Props) {
  const [isSaved, setSaved] = useState(false);
  const form = useForm({
    send: ({ firstName = "", lastName = "", company = "", phone = "", timeZone = "" }) =>
      save({ firstName, lastName, company, phone, timeZone }),
    done: () => setSaved(true),
  });
  return (
    <Card title="Profile">
      <Form form={form} onChange={() => setSaved(false)}>
        <div className="grid gap-4 sm:grid-cols-2">
          <Field {...form.field("firstName")} label="First name" autoComplete="given-name" defaultValue={user.firstName} />
          <Field {...form.field("lastName")} label="Last name" autoComplete="family-name" defaultValue={user.lastName} />
          <Field label="Email" value={user.email} disabled hint="The address that you sign in with can’t be changed." />
          <Field {...form.field("phone")} label="Phone" type="tel" autoComplete="tel" defaultValue={user.phone ?? ""} placeholder="+1 555 0100" />
          <Field {...form.field("company")} label="Company" autoComplete="organization" defaultValue={user.company ?? ""} />
          <Select {...form.field("timeZone")} label="Time zone" defaultValue={user.timeZone} hint="Days, times and reports follow it.">
            {zones(user.timeZone).map((zone) => (
              <option key={zone} value={zone}>
                {zone.replaceAll("_", " ")}
              </option>
            ))}
          </Select>
        </div>
        <SaveBar label="Save profile" isBusy={form.isBusy} isSaved={isSaved} />
      </Form>
    </Card>
  );
}

/** The zones that this browser knows, and the account's own. */
function zones(own: string): string[] {
  return [...new Set(["UTC", own, ...Intl.supportedValuesOf("timeZone")])].sort();
}
