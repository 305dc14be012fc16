import { Check } from "lucide-react";
import { useState } from "react";

import { CallError } from "@/components/call-error";
import { Choice } from "@/components/choice";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { ConfirmDialog } from "@/components/ui/dialog";
import { classes } from "@/lib/classes";
import { bytes, cents, count, date, money } from "@/lib/format";
import type { Interval, Offer, Subscription } from "./queries";
import { isCurrent, isSubscribed, price, whyNotChoose } from "./rules";

interface CurrentPlanProps {
  subscription: Subscription;
  timeZone: string;
  isPayable: boolean;
  /** What is under way. */
  busy: "portal" | "cancel" | "resume" | undefined;
  error: Error | null;
  onPortal: () => void;
  onCancel: () => void;
  onResume: () => void;
}

/** The plan, what is left, and what becomes of the subscription. */
export function CurrentPlan({ subscription, timeZone, isPayable, busy, error, onPortal, onCancel, onResume }: CurrentPlanProps) {
  const [isAsking, setAsking] = useState(false);
  const { plan, balanceBytes, usedBytes } = subscription;
  const all = Math.max(0, balanceBytes) + usedBytes;
  const isLive = isSubscribed(subscription);
  return (
    <Card title="Your plan" action={<Status of={subscription} />}>
      <div className="space-y-4">
        <CallError error={error} />
        <div className="flex flex-wrap items-baseline gap-x-3">
          <p className="text-2xl font-semibold tracking-tight">{plan.name}</p>
          <p className="text-sm text-soft">{rate(plan, isLive ? subscription.interval : undefined)}</p>
        </div>
        <div>
          <div className="mb-1.5 flex flex-wrap justify-between gap-x-4 text-sm tabular-nums">
            <span className="font-medium">{bytes(balanceBytes)} left</span>
            <span className="text-soft">{bytes(usedBytes)} used in all</span>
          </div>
          <svg
            role="img"
            aria-label={`${bytes(usedBytes)} of ${bytes(all)} used`}
            viewBox="0 0 100 1"
            preserveAspectRatio="none"
            className="h-2 w-full rounded-full bg-raised"
          >
            <rect width={all > 0 ? (usedBytes / all) * 100 : 0} height="1" className="fill-accent" />
          </svg>
        </div>
        <p className="text-sm text-soft">{future(subscription, timeZone)}</p>
        <div className="flex flex-wrap gap-2">
          {isPayable && (
            <Button look="secondary" size="small" isBusy={busy === "portal"} onClick={onPortal}>
              Cards and receipts
            </Button>
          )}
          {isLive && subscription.endsAt == null && (
            <Button look="quiet" size="small" onClick={() => setAsking(true)}>
              Cancel subscription
            </Button>
          )}
          {isLive && subscription.endsAt != null && (
            <Button look="secondary" size="small" isBusy={busy === "resume"} onClick={onResume}>
              Keep the subscription
            </Button>
          )}
        </div>
      </div>
      {isAsking && (
        <ConfirmDialog
          title={`Cancel ${plan.name}?`}
          verb="Cancel subscription"
          isBusy={busy === "cancel"}
          error={error}
          onConfirm={() => {
            onCancel();
            setAsking(false);
          }}
          onClose={() => setAsking(false)}
        >
          <p>It ends with the period that is paid{subscription.renewsAt ? `, on ${date(subscription.renewsAt, timeZone)}` : ""}. What is left of your balance stays.</p>
        </ConfirmDialog>
      )}
    </Card>
  );
}

function Status({ of: { status, endsAt } }: { of: Subscription }) {
  if (status === "past_due") return <Badge kind="danger">Payment due</Badge>;
  if (status === "active") return endsAt == null ? <Badge kind="good">Active</Badge> : <Badge kind="warning">Ends</Badge>;
  if (status === "incomplete") return <Badge kind="warning">Waiting for payment</Badge>;
  return <Badge>No subscription</Badge>;
}

function future({ status, renewsAt, endsAt, pastDueSince }: Subscription, timeZone: string): string {
  if (status === "past_due") {
    const since = pastDueSince ? ` since ${date(pastDueSince, timeZone)}` : "";
    return `The renewal is not paid${since}. Check how you pay, or the subscription will end.`;
  }
  if (endsAt) return `It was cancelled and ends on ${date(endsAt, timeZone)}. What is left stays.`;
  if (renewsAt) return `It renews on ${date(renewsAt, timeZone)}.`;
  return "You have no subscription: nothing renews, and what is left stays until it is used.";
}

function rate(plan: Offer, interval: string | null | undefined): string {
  if (interval === "year" && plan.priceAnnual != null) return `${cents(plan.priceAnnual)} a year`;
  if (interval === "month") return `${cents(plan.priceMonthly)} a month`;
  return `${money(plan.pricePerGbMicros)} for a GB`;
}

interface PlanCardsProps {
  plans: Offer[];
  subscription: Subscription;
  isPayable: boolean;
  /** The plan that is being chosen. */
  choosing: string | undefined;
  error: Error | null;
  /** Changes the subscription, or leads to the page for paying where there is none. */
  onChoose: (offer: Offer, interval: Interval) => void;
}

const INTERVALS = [
  { value: "month", label: "Monthly" },
  { value: "year", label: "Yearly" },
] as const;

/** The plans on sale beside each other. */
export function PlanCards({ plans, subscription, isPayable, choosing, error, onChoose }: PlanCardsProps) {
  const [interval, choose] = useState<Interval>("month");
  const [asked, setAsked] = useState<Offer>();
  const hasYearly = plans.some((plan) => price(plan, "year") !== undefined);
  const take = (plan: Offer) => (isSubscribed(subscription) ? setAsked(plan) : onChoose(plan, interval));
  return (
    <section aria-label="Plans" className="space-y-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <h2 className="text-base font-semibold">Plans</h2>
        {hasYearly && <Choice label="Pay" options={INTERVALS} chosen={interval} onChoose={choose} />}
      </div>
      {asked === undefined && <CallError error={error} />}
      <ul className="grid gap-4 sm:grid-cols-2 xl:grid-cols-4">
        {plans.map((plan) => (
          <PlanCard
            key={plan.id}
            plan={plan}
            interval={interval}
            isChosen={isCurrent(plan, interval, subscription)}
            whyNot={whyNotChoose(plan, interval, subscription, isPayable)}
            verb={isSubscribed(subscription) ? "Change" : "Subscribe"}
            isBusy={choosing === plan.id}
            onChoose={() => take(plan)}
          />
        ))}
      </ul>
      {asked && (
        <ConfirmDialog
          title={`Change to ${asked.name}?`}
          verb={`Change to ${asked.name}`}
          isBusy={choosing !== undefined}
          error={error}
          onConfirm={() => {
            onChoose(asked, interval);
            setAsked(undefined);
          }}
          onClose={() => setAsked(undefined)}
        >
          <p>A larger plan is charged at once, in proportion to the time that is left. A smaller one begins with the next period.</p>
        </ConfirmDialog>
      )}
    </section>
  );
}

interface PlanCardProps {
  plan: Offer;
  interval: Interval;
  /** The account has subscribed to it. */
  isChosen: boolean;
  whyNot: string | undefined;
  verb: string;
  isBusy: boolean;
  onChoose: () => void;
}

function PlanCard({ plan, interval, isChosen, whyNot, verb, isBusy, onChoose }: PlanCardProps) {
  const amount = price(plan, interval);
  return (
    <li className={classes("flex flex-col rounded-xl border bg-surface p-5 shadow-card", isChosen ? "border-accent" : "border-line")}>
      <h3 className="font-semibold">{plan.name}</h3>
      <p className="mt-2 text-2xl font-semibold tracking-tight">
        {amount === undefined ? money(plan.pricePerGbMicros) : cents(amount)}
        <span className="text-sm font-normal tracking-normal text-soft"> {amount === undefined ? "for a GB" : `a ${interval}`}</span>
      </p>
      <ul className="mt-4 mb-5 flex-1 space-y-2 text-sm">
        {offers(plan).map((line) => (
          <li key={line} className="flex gap-2">
            <Check aria-hidden className="mt-0.5 size-4 shrink-0 text-good" />
            {line}
          </li>
        ))}
      </ul>
      <Button
        look={whyNot === undefined ? "primary" : "secondary"}
        disabled={whyNot !== undefined}
        title={whyNot}
        isBusy={isBusy}
        aria-label={`${verb} to ${plan.name}`}
        onClick={onChoose}
      >
        {verb}
      </Button>
      {whyNot !== undefined && <p className="mt-2 text-center text-sm text-soft">{whyNot}</p>}
    </li>
  );
}

/** What a plan brings, a line each. */
function offers(plan: Offer): string[] {
  const targeting = plan.asnTargeting ? "Country, city and ASN" : plan.cityTargeting ? "Country and city" : "Country";
  return [
    plan.includedBytes == null ? "As many GB as you buy" : `${bytes(plan.includedBytes)} a month`,
    ...(plan.includedBytes == null ? [] : [`${money(plan.pricePerGbMicros)} for a GB beyond`]),
    `${count(plan.requestsPerDay)} requests a day`,
    `${count(plan.maxConcurrentConnections)} connections at once`,
    `${targeting} targeting`,
    ...(plan.stickySessions ? ["Sticky sessions"] : []),
  ];
}
