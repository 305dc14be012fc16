import { useState } from "react";

import type { components } from "@/api/schema";
import { Card } from "@/components/ui/card";
import { Checkbox, Field } from "@/components/ui/field";
import { type FieldErrors, Form, type Values, useForm } from "@/components/ui/form";
import { type Parsed, bytesOfGb, gbText, wholeNumber } from "@/lib/parse";
import type { Notifications } from "./queries";
import { SaveBar } from "./saved";

type Wanted = components["schemas"]["NotificationsBody"];

/** Each mail that can be switched, with what it tells. */
const MAILS = [
  { name: "emailAlerts", label: "Mails about usage", hint: "Off: neither of the next two is sent" },
  { name: "usageAlerts", label: "Usage alerts", hint: "When 80 % of the last top-up are used, and when all is" },
  { name: "rateLimitAlerts", label: "Rate limit alerts", hint: "Keys that reach their rate, once an hour at most" },
  { name: "billingAlerts", label: "Billing alerts", hint: "Receipts. A failed payment is mailed in any case" },
  { name: "securityAlerts", label: "Security alerts", hint: "Sign-ins from new networks, new keys, changes of password and second factor" },
  { name: "maintenanceAlerts", label: "Maintenance alerts", hint: "Planned work on the platform" },
  { name: "weeklyReports", label: "Weekly report", hint: "The last week in figures, each Monday" },
  { name: "monthlyReports", label: "Monthly report", hint: "The last month in figures, on the first" },
] as const;

/** What the account is told by mail, and at which marks. */
export function NotificationsForm({ preferences, save }: { preferences: Notifications; save: (wanted: Wanted) => Promise<unknown> }) {
  const [isSaved, setSaved] = useState(false);
  const form = useForm({
    check: (values) => read(values).problems,
    send: (values) => save(read(values).wanted),
    done: () => setSaved(true),
  });
  return (
    <Card title="Notifications" description="Mails that you asked for, or that a payment depends on, are sent in any case.">
      <Form form={form} onChange={() => setSaved(false)}>
        <div className="grid gap-4 sm:grid-cols-2">
          {MAILS.map(({ name, label, hint }) => (
            <Checkbox key={name} name={name} label={label} hint={hint} defaultChecked={preferences[name]} />
          ))}
        </div>
        <div className="grid gap-4 border-t border-line pt-4 sm:grid-cols-2">
          <Field
            {...form.field("usageThresholdPercent")}
            label="Usage mark, in per cent"
            inputMode="numeric"
            defaultValue={preferences.usageThresholdPercent}
            hint="Webhooks hear usage.threshold when so much of the last top-up is used."
          />
          <Field
            {...form.field("balanceLowBytes")}
            label="Balance mark, in GB"
            inputMode="decimal"
            defaultValue={gbText(preferences.balanceLowBytes)}
            hint="Webhooks hear balance.low when less than this is left."
          />
        </div>
        <SaveBar label="Save notifications" isBusy={form.isBusy} isSaved={isSaved} />
      </Form>
    </Card>
  );
}

function read(values: Values): { wanted: Wanted; problems: FieldErrors } {
  const problems: FieldErrors = {};
  const number = (name: string, parse: (text: string) => Parsed<number>): number | null => {
    const parsed = parse(values[name] ?? "");
    if ("problem" in parsed) problems[name] = parsed.problem;
    else if (parsed.value !== null) return parsed.value;
    else problems[name] = "Write a number";
    return null;
  };
  const isOn = (name: (typeof MAILS)[number]["name"]) => values[name] !== undefined;
  const wanted: Wanted = {
    emailAlerts: isOn("emailAlerts"),
    usageAlerts: isOn("usageAlerts"),
    rateLimitAlerts: isOn("rateLimitAlerts"),
    billingAlerts: isOn("billingAlerts"),
    securityAlerts: isOn("securityAlerts"),
    maintenanceAlerts: isOn("maintenanceAlerts"),
    weeklyReports: isOn("weeklyReports"),
    monthlyReports: isOn("monthlyReports"),
    usageThresholdPercent: number("usageThresholdPercent", wholeNumber),
    balanceLowBytes: number("balanceLowBytes", bytesOfGb),
  };
  return { wanted, problems };
}
