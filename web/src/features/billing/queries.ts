import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { answer, api } from "@/api/client";
import type { components } from "@/api/schema";

type Schemas = components["schemas"];
export type Offer = Schemas["OfferedPlan"];
export type Subscription = Schemas["SubscriptionInfo"];
export type Spending = Schemas["Spending"];
export type AutoTopUp = Schemas["AutoTopUpInfo"];
export type Invoice = Schemas["InvoiceInfo"];
export type Transaction = Schemas["TransactionInfo"];
export type Interval = Schemas["IntervalName"];

export const plansQuery = queryOptions({
  queryKey: ["billing", "plans"],
  queryFn: ({ signal }) => answer(api.GET("/api/billing/plans", { signal })),
});

export const subscriptionQuery = queryOptions({
  queryKey: ["billing", "subscription"],
  queryFn: ({ signal }) => answer(api.GET("/api/billing/subscription", { signal })),
});

export const invoicesQuery = infiniteQueryOptions({
  queryKey: ["billing", "invoices"],
  queryFn: ({ signal, pageParam }) =>
    answer(api.GET("/api/billing/invoices", { params: { query: { limit: 12, cursor: pageParam } }, signal })),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.nextCursor ?? undefined,
});

export const transactionsQuery = infiniteQueryOptions({
  queryKey: ["billing", "transactions"],
  queryFn: ({ signal, pageParam }) =>
    answer(api.GET("/api/billing/transactions", { params: { query: { limit: 20, cursor: pageParam } }, signal })),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.nextCursor ?? undefined,
});

/** Leads the browser to a page for paying. */
export function useCheckout() {
  return useMutation({
    mutationFn: (wish: Schemas["CheckoutRequest"]) => answer(api.POST("/api/billing/checkout", { body: wish })),
    onSuccess: ({ url }) => globalThis.location.assign(url),
  });
}

/** Leads the browser to the provider's page for cards and receipts. */
export function usePortal() {
  return useMutation({
    mutationFn: () => answer(api.POST("/api/billing/portal")),
    onSuccess: ({ url }) => globalThis.location.assign(url),
  });
}

export function useChangePlan() {
  return useBillingMutation((wish: Schemas["ChangeRequest"]) =>
    answer(api.POST("/api/billing/subscription/change", { body: wish })),
  );
}

export function useCancel() {
  return useBillingMutation(() => answer(api.POST("/api/billing/subscription/cancel")));
}

export function useResume() {
  return useBillingMutation(() => answer(api.POST("/api/billing/subscription/resume")));
}

export function useSetCap() {
  return useBillingMutation((monthlyCapCents: number | null) =>
    answer(api.PUT("/api/billing/spend-cap", { body: { monthlyCapCents } })),
  );
}

export function useSetAutoTopUp() {
  return useBillingMutation((autoTopUp: AutoTopUp | null) =>
    answer(api.PUT("/api/billing/auto-top-up", { body: { autoTopUp } })),
  );
}

/** A change after which how the account stands is read anew. */
function useBillingMutation<Asked, Answer>(mutationFn: (asked: Asked) => Promise<Answer>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn,
    onSettled: () => queries.invalidateQueries({ queryKey: subscriptionQuery.queryKey }),
  });
}
