import type { useForm } from "@/components/ui/form";
import { Checkbox, Field, TextArea } from "@/components/ui/field";
import type { KeyField, KeyTexts } from "./key-form";

interface Props {
  form: Pick<ReturnType<typeof useForm<unknown>>, "field">;
  /** What the fields begin with. */
  texts: KeyTexts;
  hasIpLogin: boolean;
  timeZone: string;
}

/** What a key may do of what the plan allows: one field for each limit. */
export function KeyFields({ form, texts, hasIpLogin, timeZone }: Props) {
  const field = (name: KeyField) => ({ ...form.field(name), defaultValue: texts[name] });
  const whole = { inputMode: "numeric", placeholder: "No limit" } as const;
  const amount = { inputMode: "decimal", placeholder: "No limit" } as const;
  return (
    <>
      <Group title="Pace">
        <div className="grid gap-4 sm:grid-cols-3">
          <Field {...field("limits.requestsPerSecond")} {...whole} label="Requests a second" />
          <Field {...field("limits.burst")} {...whole} placeholder="As many" label="At once after a rest" />
          <Field {...field("limits.maxConnections")} {...whole} label="Connections" />
        </div>
      </Group>
      <Group title="Volume, in GB">
        <div className="grid gap-4 sm:grid-cols-3">
          <Field {...field("limits.bytesPerDay")} {...amount} label="GB a day" />
          <Field {...field("limits.bytesPerMonth")} {...amount} label="GB a month" />
          <Field {...field("limits.bytesTotal")} {...amount} label="GB in all" />
        </div>
      </Group>
      <Group title="Where to">
        <Field
          {...field("limits.countries")}
          label="Countries of the exits"
          placeholder="Any"
          hint="Two-letter codes, or eu, with commas between them: US, DE"
        />
        <TextArea
          {...field("limits.allowDestinations")}
          rows={2}
          label="Allowed destinations"
          placeholder="All"
          hint="Hosts with everything below them, addresses or CIDRs, one a line"
        />
        <TextArea {...field("limits.denyDestinations")} rows={2} label="Denied destinations" placeholder="None" hint="These win over the allowed ones" />
        <Field {...field("limits.ports")} label="Ports" placeholder="All" hint="Such as 80, 443" />
      </Group>
      <Group title="From where, and how long">
        <TextArea
          {...field("ipWhitelist")}
          rows={2}
          label="Allowed client addresses"
          placeholder="Any"
          hint="Addresses or CIDRs that may use the key, one a line"
        />
        <Checkbox
          name="ipLogin"
          defaultChecked={hasIpLogin}
          label="Let these addresses in without a password"
          hint="Once an address has used the key. The list must be narrow."
        />
        <Field {...field("expiresAt")} type="datetime-local" label="Works until" hint={`In ${timeZone}; empty: for good`} />
      </Group>
    </>
  );
}

function Group({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <fieldset className="space-y-4 border-t border-line pt-4">
      <legend className="float-left mb-3 w-full text-sm font-semibold">{title}</legend>
      <div className="clear-both space-y-4">{children}</div>
    </fieldset>
  );
}
