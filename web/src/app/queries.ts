import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";

import { ApiError } from "@/api/problem";
import { sessionQuery } from "@/api/session";

const MOST_TRIES = 2;

/** What the server said, kept while it is fresh. `onLoginOver` is called when it says that the login has ended. */
export function createQueries(onLoginOver: () => void): QueryClient {
  const onError = (error: Error) => {
    if (!(error instanceof ApiError)) return;
    if (error.isLoginOver) onLoginOver();
    // Somebody signed in anew in another tab: this login's proof is needed for the next try.
    if (error.code === "csrf_token_invalid") void queries.invalidateQueries(sessionQuery);
  };
  const queries: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      queries: { staleTime: 10_000, retry: (failures, error) => failures < MOST_TRIES && mayPass(error) },
    },
  });
  return queries;
}

/** Whether the same request may succeed in a moment. */
function mayPass(error: Error): boolean {
  return error instanceof ApiError && (error.status === 0 || error.status >= 502);
}
