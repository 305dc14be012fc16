import { queryOptions } from "@tanstack/react-query";

import { answer, api } from "./client";

// What more than one page asks for; the rest stands with its page.

export const keysQuery = queryOptions({
  queryKey: ["keys"],
  queryFn: ({ signal }) => answer(api.GET("/api/proxy/keys", { signal })),
});

/** How the proxy is reached, for ready lines. */
export const endpointQuery = queryOptions({
  queryKey: ["endpoint"],
  queryFn: ({ signal }) => answer(api.GET("/api/proxy/endpoint", { signal })),
  staleTime: Infinity,
});

/** How often sums are looked at anew, in ms. */
const LOOK_EVERY = 10_000;

/** Which usage is meant: the last days, today included, and of one key alone if it is named. */
export interface UsagePeriod {
  days: number;
  key?: string;
}

export function summaryQuery({ days, key }: UsagePeriod) {
  return queryOptions({
    queryKey: ["usage", "summary", days, key],
    queryFn: ({ signal }) => answer(api.GET("/api/usage/summary", { params: { query: { days, key } }, signal })),
    refetchInterval: LOOK_EVERY,
  });
}

export function dailyQuery({ days, key }: UsagePeriod) {
  return queryOptions({
    queryKey: ["usage", "daily", days, key],
    queryFn: ({ signal }) => answer(api.GET("/api/usage/daily", { params: { query: { days, key } }, signal })),
  });
}
