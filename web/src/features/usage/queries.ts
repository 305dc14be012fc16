import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";

import { answer, api } from "@/api/client";
import type { UsagePeriod } from "@/api/queries";
import { type UsageSearch, filtersOf } from "./search";

/** How often what happens now is looked at, in ms: the API has requests within 10 seconds of their begin. */
const LOOK_EVERY = 10_000;
/** The same where somebody waits for one request. */
const WAIT_EVERY = 2000;
/** How often it is looked for before it is believed that it does not exist. */
const MOST_WAITS = 8;

/** Hosts that are told by name. */
const MOST_HOSTS = 20;

function period({ days, key }: UsagePeriod) {
  return { params: { query: { days, key } } };
}

export function hourlyQuery(shown: UsagePeriod) {
  return queryOptions({
    queryKey: ["usage", "hourly", shown.days, shown.key],
    queryFn: ({ signal }) => answer(api.GET("/api/usage/hourly", { ...period(shown), signal })),
  });
}

export function countriesQuery(shown: UsagePeriod) {
  return queryOptions({
    queryKey: ["usage", "countries", shown.days, shown.key],
    queryFn: ({ signal }) => answer(api.GET("/api/usage/by-country", { ...period(shown), signal })),
  });
}

export function destinationsQuery({ days, key }: UsagePeriod) {
  return queryOptions({
    queryKey: ["usage", "destinations", days, key],
    queryFn: ({ signal }) =>
      answer(api.GET("/api/usage/by-destination", { params: { query: { days, key, limit: MOST_HOSTS } }, signal })),
  });
}

export function statusesQuery(shown: UsagePeriod) {
  return queryOptions({
    queryKey: ["usage", "statuses", shown.days, shown.key],
    queryFn: ({ signal }) => answer(api.GET("/api/usage/by-status", { ...period(shown), signal })),
  });
}

/** The requests begun since `from` that fit, page by page. */
export function requestsQuery(search: UsageSearch, from: string) {
  const query = { ...filtersOf(search), from, limit: 25 };
  return infiniteQueryOptions({
    queryKey: ["usage", "requests", query],
    queryFn: ({ signal, pageParam }) =>
      answer(api.GET("/api/usage/requests", { params: { query: { ...query, cursor: pageParam } }, signal })),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.nextCursor ?? undefined,
    refetchInterval: LOOK_EVERY,
  });
}

/** One request, looked at until it has ended. One that the log does not have yet is looked for a while. */
export function receiptQuery(requestId: string) {
  return queryOptions({
    queryKey: ["usage", "receipt", requestId],
    queryFn: ({ signal }) =>
      answer(api.GET("/api/usage/requests/{requestId}", { params: { path: { requestId } }, signal })),
    refetchInterval: ({ state }) => {
      const isAwaited = state.data === undefined ? state.errorUpdateCount < MOST_WAITS : state.data.endedAt == null;
      return isAwaited && WAIT_EVERY;
    },
  });
}
