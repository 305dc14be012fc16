import { type QueryClient, queryOptions, useSuspenseQuery } from "@tanstack/react-query";

import { answer, api, setCsrfToken } from "./client";
import type { components } from "./schema";

/** Who is signed in, with plan and balance. */
export type Session = components["schemas"]["ProfileAnswer"];
/** An account as its owner sees it. */
export type User = components["schemas"]["User"];

/** The profile of whoever is signed in. It also brings the proof that changes need, so a reload loses nothing. */
export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async ({ signal }): Promise<Session> => {
    const session = await answer(api.GET("/api/auth/profile", { signal }));
    setCsrfToken(session.csrfToken);
    return session;
  },
  staleTime: 15_000,
});

/** Who is signed in. For pages behind the sign-in only: their layout has loaded it. */
export function useSession(): Session {
  return useSuspenseQuery(sessionQuery).data;
}

/** Begins as whoever signed in just now: nothing of an account before stays. */
export function beginSession(queries: QueryClient, login: components["schemas"]["LoginAnswer"]): void {
  queries.clear();
  setCsrfToken(login.csrfToken);
}

/** Forgets everything of whoever was signed in. */
export function endSession(queries: QueryClient): void {
  setCsrfToken(undefined);
  queries.clear();
}
