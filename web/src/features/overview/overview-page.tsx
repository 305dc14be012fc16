import { useQuery } from "@tanstack/react-query";

import { dailyQuery, endpointQuery, keysQuery, summaryQuery } from "@/api/queries";
import { useSession } from "@/api/session";
import { useLiveNumbers } from "./live";
import { OverviewView } from "./overview-view";
import { networkQuery } from "./queries";

/** What the account has and how it stands. */
export function OverviewPage() {
  const endpoint = useQuery(endpointQuery);
  return (
    <OverviewView
      session={useSession()}
      today={useQuery(summaryQuery({ days: 1 }))}
      month={useQuery(summaryQuery({ days: 30 }))}
      daily={useQuery(dailyQuery({ days: 30 }))}
      keys={useQuery(keysQuery)}
      network={useQuery(networkQuery)}
      live={useLiveNumbers()}
      connection={endpoint.data?.endpoints[0]?.connectionString}
    />
  );
}
