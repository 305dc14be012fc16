import { useState } from "react";

import type { components } from "@/api/schema";
import { Card } from "@/components/ui/card";
import { Select, TextArea } from "@/components/ui/field";
import { Form, useForm } from "@/components/ui/form";
import { entries } from "@/lib/parse";
import type { Security } from "./queries";
import { SaveBar } from "./saved";

type Wanted = components["schemas"]["SecurityBody"];

const TIMEOUTS = [15, 30, 60] as const;

/** How long a login lasts without a request, and from which networks one can sign in. */
export function SignInForm({ security, save }: { security: Security; save: (wanted: Wanted) => Promise<unknown> }) {
  const [isSaved, setSaved] = useState(false);
  const form = useForm({
    send: ({ sessionTimeoutMinutes = "", ipAllowList = "" }) =>
      save({
        sessionTimeoutMinutes: TIMEOUTS.find((minutes) => String(minutes) === sessionTimeoutMinutes) ?? null,
        ipAllowList: entries(ipAllowList),
      }),
    done: () => setSaved(true),
  });
  return (
    <Card title="Signing in" description="Holds for this dashboard and the API, not for keys at the proxy: those have lists of their own.">
      <Form form={form} onChange={() => setSaved(false)}>
        <Select {...form.field("sessionTimeoutMinutes")} label="Sign out when idle" defaultValue={security.sessionTimeoutMinutes ?? ""}>
          <option value="">Never: a login lasts 24 hours</option>
          {TIMEOUTS.map((minutes) => (
            <option key={minutes} value={minutes}>
              After {minutes} minutes
            </option>
          ))}
        </Select>
        <TextArea
          {...form.field("ipAllowList")}
          label="Sign in only from"
          placeholder="Anywhere"
          defaultValue={security.ipAllowList.join("\n")}
          hint="Addresses or CIDRs, one a line, your own among them. Empty: anywhere."
        />
        <SaveBar label="Save sign-in settings" isBusy={form.isBusy} isSaved={isSaved} />
      </Form>
    </Card>
  );
}
