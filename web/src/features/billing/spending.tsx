import { useState } from "react";

import { Alert } from "@/components/ui/alert";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Field } from "@/components/ui/field";
import { type FieldErrors, Form, type Values, useForm } from "@/components/ui/form";
import { bytes, cents, money } from "@/lib/format";
import { bytesOfGb, centsOfDollars, dollarsText, gbText, wholeNumber } from "@/lib/parse";
import type { AutoTopUp, Offer, Spending } from "./queries";
import { topUpCents } from "./rules";

interface TopUpProps {
  plan: Offer;
  /** Why nothing can be bought; none: it can. */
  whyNot: string | undefined;
  /** Leads to the page for paying. */
  onTopUp: (gb: number) => Promise<unknown>;
}

/** Buys bytes at the price of the plan. */
export function TopUp({ plan, whyNot, onTopUp }: TopUpProps) {
  const [typed, setTyped] = useState("10");
  const cost = topUpCents(typed, plan.pricePerGbMicros);
  const form = useForm({
    check: ({ gb = "" }): FieldErrors => (topUpCents(gb, 1) === undefined ? { gb: "Write a whole number of GB" } : {}),
    send: ({ gb = "" }) => onTopUp(Number(gb)),
  });
  return (
    <Card title="Top up" description={`${money(plan.pricePerGbMicros)} for a GB on ${plan.name}. What you buy stays until it is used.`}>
      <Form form={form}>
        <Field {...form.field("gb")} label="GB" inputMode="numeric" value={typed} onChange={(event) => setTyped(event.target.value)} disabled={whyNot !== undefined} />
        <Button type="submit" isBusy={form.isBusy} disabled={whyNot !== undefined} title={whyNot}>
          {cost === undefined ? "Pay" : `Pay ${cents(cost)}`}
        </Button>
        {whyNot !== undefined && <p className="text-sm text-soft">{whyNot}.</p>}
      </Form>
    </Card>
  );
}

/** Sets the most that top-ups of a month may cost. */
export function SpendCap({ spending, onSet }: { spending: Spending; onSet: (capCents: number | null) => Promise<unknown> }) {
  const [isSaved, setSaved] = useState(false);
  const form = useForm({
    check: ({ monthlyCapCents = "" }) => problem("monthlyCapCents", centsOfDollars(monthlyCapCents)),
    send: ({ monthlyCapCents = "" }) => onSet(valueOf(centsOfDollars(monthlyCapCents))),
    done: () => setSaved(true),
  });
  return (
    <Card title="Spend cap" description="Top-ups of a month, automatic ones included, never cost more than this.">
      <Form form={form} onChange={() => setSaved(false)}>
        <Field
          {...form.field("monthlyCapCents")}
          label="Dollars a month"
          inputMode="decimal"
          placeholder="No cap"
          defaultValue={dollarsText(spending.monthlyCapCents)}
          hint={`${cents(spending.spentCents)} spent this month (UTC). Empty: no cap.`}
        />
        <Saving label="Save cap" isBusy={form.isBusy} isSaved={isSaved} />
      </Form>
    </Card>
  );
}

interface AutoTopUpProps {
  spending: Spending;
  /** Why it can't be switched on; none: it can. */
  whyNot: string | undefined;
  onSet: (auto: AutoTopUp | null) => Promise<unknown>;
}

/** Buys bytes whenever the balance falls below a mark. */
export function AutoTopUpCard({ spending, whyNot, onSet }: AutoTopUpProps) {
  const auto = spending.autoTopUp;
  const [isSaved, setSaved] = useState(false);
  const form = useForm({
    check: (values) => readAuto(values).problems,
    send: (values) => onSet(readAuto(values).auto),
    done: () => setSaved(true),
  });
  const off = useForm({ send: () => onSet(null) });
  const isDisabled = whyNot !== undefined && !auto;
  return (
    <Card
      title="Automatic top-up"
      description="With the card of your last payment, whenever the balance falls below the mark."
      action={auto && !spending.isSwitchedOff ? <Badge kind="good">On</Badge> : <Badge>Off</Badge>}
    >
      {spending.isSwitchedOff && (
        <div className="mb-4">
          <Alert kind="warning">It was switched off after {spending.failures} failed payments. Save it again to switch it on.</Alert>
        </div>
      )}
      <Form form={form} onChange={() => setSaved(false)}>
        <div className="grid gap-4 sm:grid-cols-3">
          <Field
            {...form.field("thresholdBytes")}
            label="Below, in GB"
            inputMode="decimal"
            defaultValue={auto ? gbText(auto.thresholdBytes) : "1"}
            disabled={isDisabled}
          />
          <Field {...form.field("gb")} label="Buy, in GB" inputMode="numeric" defaultValue={auto?.gb ?? 10} disabled={isDisabled} />
          <Field
            {...form.field("monthlyBoundCents")}
            label="At most, $ a month"
            inputMode="decimal"
            defaultValue={auto ? dollarsText(auto.monthlyBoundCents) : "100"}
            disabled={isDisabled}
          />
        </div>
        <div className="flex flex-wrap items-center gap-2">
          <Saving label={auto ? "Save" : "Switch on"} isBusy={form.isBusy} isSaved={isSaved} whyNot={isDisabled ? whyNot : undefined} />
        </div>
      </Form>
      {auto && (
        <div className="mt-2">
          <Form form={off}>
            <Button type="submit" look="quiet" size="small" isBusy={off.isBusy}>
              Switch off (now below {bytes(auto.thresholdBytes)})
            </Button>
          </Form>
        </div>
      )}
      {isDisabled && <p className="mt-3 text-sm text-soft">{whyNot}.</p>}
    </Card>
  );
}

function Saving({ label, isBusy, isSaved, whyNot }: { label: string; isBusy: boolean; isSaved: boolean; whyNot?: string | undefined }) {
  return (
    <div className="flex items-center gap-3">
      <Button type="submit" look="secondary" isBusy={isBusy} disabled={whyNot !== undefined} title={whyNot}>
        {label}
      </Button>
      <output className="text-sm text-good">
        {isSaved && "Saved"}
      </output>
    </div>
  );
}

/** What the form of automatic top-ups asks for. */
function readAuto(values: Values): { auto: AutoTopUp; problems: FieldErrors } {
  const threshold = bytesOfGb(values["thresholdBytes"] ?? "");
  const gb = wholeNumber(values["gb"] ?? "");
  const bound = centsOfDollars(values["monthlyBoundCents"] ?? "");
  return {
    auto: { thresholdBytes: valueOf(threshold) ?? 0, gb: valueOf(gb) ?? 0, monthlyBoundCents: valueOf(bound) ?? 0 },
    problems: {
      ...problem("thresholdBytes", threshold, true),
      ...problem("gb", gb, true),
      ...problem("monthlyBoundCents", bound, true),
    },
  };
}

type Read = { value: number | null } | { problem: string };

function problem(field: string, read: Read, isNeeded = false): FieldErrors {
  if ("problem" in read) return { [field]: read.problem };
  return isNeeded && read.value === null ? { [field]: "Is needed" } : {};
}

function valueOf(read: Read): number | null {
  return "value" in read ? read.value : null;
}
