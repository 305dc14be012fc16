import { Link } from "@tanstack/react-router";
import { Download, ListFilter } from "lucide-react";
import type { FormEvent, ReactNode } from "react";

import type { components } from "@/api/schema";
import { type Asked, Loaded } from "@/components/loaded";
import { Badge } from "@/components/ui/badge";
import { Button, buttonClasses } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { EmptyState } from "@/components/ui/empty-state";
import { Field, Select } from "@/components/ui/field";
import { Pager } from "@/components/ui/pager";
import { type Column, Table } from "@/components/ui/table";
import { countryName } from "@/lib/countries";
import { bytes, count, dateTime } from "@/lib/format";
import { paths } from "@/lib/paths";
import { PROXY_TYPES, type UsageSearch, isFiltered } from "./search";

export type RequestInfo = components["schemas"]["RequestInfo"];

interface Props {
  search: UsageSearch;
  /** Error codes of the period, to choose from. */
  codes: string[];
  requests: Asked<RequestInfo[]>;
  hasMore: boolean;
  isLoadingMore: boolean;
  onMore: () => void;
  /** Other filters, as they were typed; empty ones are none. */
  onFilter: (typed: Record<string, unknown>) => void;
  exports: { csv: string; ndjson: string };
  timeZone: string;
}

/** The requests of the period one by one, and a search through them. */
export function RequestsView({ search, codes, requests, hasMore, isLoadingMore, onMore, onFilter, exports, timeZone }: Props) {
  return (
    <Card
      title="Requests"
      description="Each request and tunnel, newest first; those that still run included."
      isFlush
      action={
        <span className="flex flex-wrap gap-2">
          <ExportLink href={exports.csv} form="CSV" />
          <ExportLink href={exports.ndjson} form="NDJSON" />
        </span>
      }
    >
      <div className="border-t border-line px-5 py-4">
        <Filters key={JSON.stringify(search)} search={search} codes={codes} onFilter={onFilter} />
      </div>
      <div className="border-t border-line">
        <Padded when={requests.data === undefined}>
          <Loaded of={requests} lines={6}>
            {(rows) =>
              rows.length === 0 ? (
                <EmptyState icon={ListFilter} title={isFiltered(search) ? "No request fits" : "No requests"}>
                  {isFiltered(search) ? "Change the filters, or look at a longer period." : "Single requests are kept for a while, then only their sums."}
                </EmptyState>
              ) : (
                <Table label="Requests" columns={columns(timeZone)} rows={rows} keyOf={(request) => request.id} />
              )
            }
          </Loaded>
        </Padded>
        <Pager hasMore={hasMore} isBusy={isLoadingMore} onMore={onMore} />
      </div>
    </Card>
  );
}

function Padded({ when, children }: { when: boolean; children: ReactNode }) {
  return when ? <div className="px-5 py-4">{children}</div> : children;
}

function ExportLink({ href, form }: { href: string; form: string }) {
  return (
    <a href={href} download className={buttonClasses("secondary", "small")}>
      <Download aria-hidden className="size-3.5" />
      Export {form}
    </a>
  );
}

function Filters({ search, codes, onFilter }: Pick<Props, "search" | "codes" | "onFilter">) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    onFilter(Object.fromEntries(new FormData(event.currentTarget)));
  };
  const known = search.code && search.code !== "ok" && !codes.includes(search.code) ? [search.code, ...codes] : codes;
  return (
    <form aria-label="Search the requests" onSubmit={submit} className="space-y-4">
      <div className="grid gap-4 sm:grid-cols-2 lg:grid-cols-6">
        <div className="lg:col-span-2">
          <Field name="host" label="Host" defaultValue={search.host} placeholder="example.com" />
        </div>
        <Field name="country" label="Country" defaultValue={search.country} placeholder="Any" maxLength={2} />
        <Select name="code" label="Outcome" defaultValue={search.code ?? ""}>
          <option value="">Any</option>
          <option value="ok">Succeeded</option>
          {known.map((code) => (
            <option key={code} value={code}>
              {code}
            </option>
          ))}
        </Select>
        <Select name="type" label="By" defaultValue={search.type ?? ""}>
          <option value="">Any way</option>
          {PROXY_TYPES.map((type) => (
            <option key={type} value={type}>
              {type}
            </option>
          ))}
        </Select>
        <Field name="session" label="Session" defaultValue={search.session} placeholder="Any" />
      </div>
      <div className="flex flex-wrap gap-2">
        <Button type="submit" look="secondary" size="small">
          Search
        </Button>
        {isFiltered(search) && (
          <Button look="quiet" size="small" onClick={() => onFilter({})}>
            Clear filters
          </Button>
        )}
      </div>
    </form>
  );
}

function columns(timeZone: string): Column<RequestInfo>[] {
  return [
    { heading: "Begun", cell: (request) => <span className="whitespace-nowrap">{dateTime(request.startedAt, timeZone)}</span> },
    {
      heading: "Destination",
      cell: (request) => (
        <Link to={paths.request} params={{ requestId: request.id }} className="block min-w-44 text-accent wrap-anywhere hover:underline">
          {request.destination}
        </Link>
      ),
    },
    {
      heading: "Exit",
      cell: (request) => (
        <span className="whitespace-nowrap">{request.targetCountry ? place(request) : <span className="text-soft">None</span>}</span>
      ),
    },
    { heading: "Outcome", cell: (request) => <Outcome of={request} /> },
    { heading: "Data", isNumber: true, cell: (request) => <span className="whitespace-nowrap">{bytes(request.totalBytes)}</span> },
    {
      heading: "Time",
      isNumber: true,
      cell: (request) => <span className="whitespace-nowrap">{request.durationMs == null ? "–" : `${count(request.durationMs)} ms`}</span>,
    },
  ];
}

/** Where the exit was. */
export function place({ targetCity, targetCountry }: RequestInfo): string {
  return [targetCity, countryName(targetCountry)].filter(Boolean).join(", ");
}

/** How a request went. */
export function Outcome({ of: { success, statusCode, errorMessage } }: { of: RequestInfo }) {
  if (success == null) return <Badge kind="accent">Running</Badge>;
  const text = [statusCode, errorMessage].filter((part) => part != null).join(" ");
  return <Badge kind={success ? "good" : "danger"}>{text || (success ? "Succeeded" : "Failed")}</Badge>;
}
