import { type UseInfiniteQueryResult, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";

import { useSession } from "@/api/session";
import { BillingView } from "./billing-view";
import { CurrentPlan, PlanCards } from "./plan-cards";
import {
  invoicesQuery,
  plansQuery,
  subscriptionQuery,
  transactionsQuery,
  useCancel,
  useChangePlan,
  useCheckout,
  usePortal,
  useResume,
  useSetAutoTopUp,
  useSetCap,
} from "./queries";
import { Invoices, type Paged, Transactions } from "./records";
import { isSubscribed, whyNotBuy } from "./rules";
import { readSearch } from "./search";
import { AutoTopUpCard, SpendCap, TopUp } from "./spending";

/** How often it is looked whether what the payment provider does has arrived, in ms. */
const LOOK_EVERY = 3000;

export function BillingPage() {
  const { timeZone } = useSession().user;
  const isPaid = readSearch(useSearch({ strict: false })).paid === 1;
  const plans = useQuery(plansQuery);
  const isPayable = plans.data?.isPayable === true;
  const invoices = useInfiniteQuery({ ...invoicesQuery, enabled: isPayable });
  const transactions = useInfiniteQuery(transactionsQuery);
  const portal = usePortal();
  const checkout = useCheckout();
  const change = useChangePlan();
  const cancel = useCancel();
  const resume = useResume();
  const isAsked = change.isSuccess || cancel.isSuccess || resume.isSuccess;
  const subscription = useQuery({ ...subscriptionQuery, refetchInterval: (isPaid || isAsked) && LOOK_EVERY });
  const setCap = useSetCap();
  const setAutoTopUp = useSetAutoTopUp();
  const choosing = (checkout.isPending && checkout.variables.planId) || (change.isPending && change.variables.planId) || undefined;
  const busy = portal.isPending ? "portal" : cancel.isPending ? "cancel" : resume.isPending ? "resume" : undefined;
  return (
    <BillingView isPaid={isPaid} isAsked={isAsked} plans={plans} subscription={subscription}>
      {(offered, now) => (
        <>
          <div className="grid items-start gap-4 lg:grid-cols-2">
            <CurrentPlan
              subscription={now}
              timeZone={timeZone}
              isPayable={isPayable}
              busy={busy}
              error={portal.error ?? cancel.error ?? resume.error}
              onPortal={portal.mutate}
              onCancel={cancel.mutate}
              onResume={resume.mutate}
            />
            <TopUp plan={now.plan} whyNot={whyNotBuy(isPayable, now)} onTopUp={(gb) => checkout.mutateAsync({ gb })} />
          </div>
          <PlanCards
            plans={offered.plans}
            subscription={now}
            isPayable={isPayable}
            choosing={choosing}
            error={change.error ?? (checkout.variables?.planId ? checkout.error : null)}
            onChoose={(plan, interval) =>
              isSubscribed(now) ? change.mutate({ planId: plan.id, interval }) : checkout.mutate({ planId: plan.id, interval })
            }
          />
          <div className="grid items-start gap-4 lg:grid-cols-2">
            <SpendCap spending={now.spending} onSet={setCap.mutateAsync} />
            <AutoTopUpCard spending={now.spending} whyNot={isPayable ? undefined : whyNotBuy(isPayable, now)} onSet={setAutoTopUp.mutateAsync} />
          </div>
          {isPayable && <Invoices of={paged(invoices, (page) => page.invoices)} timeZone={timeZone} />}
          <Transactions of={paged(transactions, (page) => page.transactions)} timeZone={timeZone} />
        </>
      )}
    </BillingView>
  );
}

function paged<Page, Row>(result: UseInfiniteQueryResult<{ pages: Page[] }>, rows: (page: Page) => Row[]): Paged<Row> {
  return {
    data: result.data?.pages.flatMap(rows),
    error: result.error,
    refetch: result.refetch,
    hasMore: result.hasNextPage,
    isLoadingMore: result.isFetchingNextPage,
    onMore: () => void result.fetchNextPage(),
  };
}
