import { queryOptions } from "@tanstack/react-query";

import { answer, api } from "@/api/client";

/** Counts over the devices that are live now. */
export const networkQuery = queryOptions({
  queryKey: ["network"],
  queryFn: ({ signal }) => answer(api.GET("/api/nodes/stats", { signal })),
  refetchInterval: 30_000,
});
