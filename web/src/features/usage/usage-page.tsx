import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";

import { dailyQuery, keysQuery, summaryQuery } from "@/api/queries";
import { useSession } from "@/api/session";
import { paths } from "@/lib/paths";
import { countriesQuery, destinationsQuery, hourlyQuery, requestsQuery, statusesQuery } from "./queries";
import { RequestsView } from "./requests-view";
import { type UsageSearch, exportPath, readSearch } from "./search";
import { UsageView } from "./usage-view";

export function UsagePage() {
  const { timeZone } = useSession().user;
  const search = readSearch(useSearch({ strict: false }));
  const navigate = useNavigate();
  const show = (next: UsageSearch) => void navigate({ to: paths.usage, search: next, resetScroll: false });
  const shown = { days: search.days, key: search.key };
  const keys = useQuery(keysQuery);
  const summary = useQuery(summaryQuery(shown));
  const statuses = useQuery(statusesQuery(shown));
  // The list begins where the sums do; which moment that is, the API knows best.
  const from = summary.data?.period.from;
  const requests = useInfiniteQuery({ ...requestsQuery(search, from ?? ""), enabled: from !== undefined });
  return (
    <UsageView
      search={search}
      onDays={(days) => show({ ...search, days })}
      onKey={(key) => show({ ...search, key })}
      keys={keys.data?.keys ?? []}
      summary={summary}
      daily={useQuery(dailyQuery(shown))}
      hourly={useQuery(hourlyQuery(shown))}
      countries={useQuery(countriesQuery(shown))}
      destinations={useQuery(destinationsQuery(shown))}
      statuses={statuses}
    >
      {from !== undefined && (
        <RequestsView
          search={search}
          codes={[...new Set(statuses.data?.statuses.flatMap(({ error }) => error ?? []))].sort()}
          requests={{ ...requests, data: requests.data?.pages.flatMap((page) => page.requests) }}
          hasMore={requests.hasNextPage}
          isLoadingMore={requests.isFetchingNextPage}
          onMore={() => void requests.fetchNextPage()}
          onFilter={(typed) => show(readSearch({ ...typed, ...shown }))}
          exports={{ csv: exportPath(search, from, "csv"), ndjson: exportPath(search, from, "ndjson") }}
          timeZone={timeZone}
        />
      )}
    </UsageView>
  );
}
