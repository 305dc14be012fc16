import type { ReactNode } from "react";

import type { components } from "@/api/schema";
import { type Asked, LoadedCards } from "@/components/loaded";
import { Page } from "@/components/page";
import { Alert } from "@/components/ui/alert";
import { bytes, plural } from "@/lib/format";
import type { Subscription } from "./queries";

type PlanList = components["schemas"]["PlanList"];

interface Props {
  /** The payment provider led the browser back after a payment. */
  isPaid: boolean;
  /** The payment provider was asked to change the subscription. */
  isAsked: boolean;
  plans: Asked<PlanList>;
  subscription: Asked<Subscription>;
  /** What is shown once both are known. */
  children: (plans: PlanList, subscription: Subscription) => ReactNode;
}

/** Plan, top-ups, what may be spent, and what was paid. */
export function BillingView({ isPaid, isAsked, plans, subscription, children }: Props) {
  return (
    <Page title="Billing" description="All prices are in US dollars; 1 GB is 10⁹ bytes.">
      {isPaid && (
        <Alert kind="good" title="Thank you">
          What you paid for comes into the account once the payment provider confirms it, usually within seconds.
        </Alert>
      )}
      {isAsked && <Alert>The payment provider makes the change. It shows here within seconds.</Alert>}
      <Both of={[plans, subscription]}>
        {(offered, now) => (
          <>
            {!offered.isPayable && (
              <Alert title="This server takes no payments">
                Plans and prices are shown for information. Ask the operator to change your plan or balance.
              </Alert>
            )}
            {now.hold && <HoldNotice hold={now.hold} />}
            {children(offered, now)}
          </>
        )}
      </Both>
    </Page>
  );
}

function Both({ of: [plans, subscription], children }: { of: [Props["plans"], Props["subscription"]]; children: Props["children"] }) {
  if (plans.data !== undefined && subscription.data !== undefined) return children(plans.data, subscription.data);
  const error = plans.error ?? subscription.error;
  const refetch = () => [plans, subscription].map((asked) => asked.data ?? asked.refetch());
  return (
    <LoadedCards<never> of={{ data: undefined, error, refetch }} lines={6}>
      {() => null}
    </LoadedCards>
  );
}

function HoldNotice({ hold }: { hold: NonNullable<Subscription["hold"]> }) {
  return (
    <Alert kind="warning" title="Nothing can be bought for now">
      {hold.openDisputes > 0 && `${plural(hold.openDisputes, "payment")} of yours ${hold.openDisputes === 1 ? "is" : "are"} disputed at the bank. `}
      {hold.owedBytes > 0 && `${bytes(hold.owedBytes)} were used and not paid for. `}
      Write to support to settle it.
    </Alert>
  );
}
