import { ChartColumn } from "lucide-react";
import type { ReactNode } from "react";

import type { components } from "@/api/schema";
import { BarChart } from "@/components/bar-chart";
import { Choice } from "@/components/choice";
import { type Asked, Loaded, LoadedCards } from "@/components/loaded";
import { Page } from "@/components/page";
import { type Share, Shares } from "@/components/shares";
import { Card, Figure } from "@/components/ui/card";
import { EmptyState } from "@/components/ui/empty-state";
import { Select } from "@/components/ui/field";
import { countryName } from "@/lib/countries";
import { bytes, count, plural } from "@/lib/format";
import { type Days, RANGES, type UsageSearch } from "./search";
import { bars, isByWeek } from "./series";

type Schemas = components["schemas"];
type Sums = Schemas["Sums"];

export interface UsageViewProps {
  search: UsageSearch;
  onDays: (days: Days) => void;
  onKey: (key: string | undefined) => void;
  keys: Schemas["KeyInfo"][];
  summary: Asked<Schemas["SummaryAnswer"]>;
  daily: Asked<Schemas["DailyAnswer"]>;
  hourly: Asked<Schemas["HourlyAnswer"]>;
  countries: Asked<Schemas["CountriesAnswer"]>;
  destinations: Asked<Schemas["DestinationsAnswer"]>;
  statuses: Asked<Schemas["StatusesAnswer"]>;
  /** The requests one by one. */
  children: ReactNode;
}

/** What was used in a period: sums, over time, and by country, destination and outcome. */
export function UsageView({ search, onDays, onKey, keys, children, ...asked }: UsageViewProps) {
  return (
    <Page title="Usage" description="Bytes and requests as they were billed, in your account’s time zone.">
      <div className="flex flex-wrap items-end justify-between gap-4">
        <Choice
          label="Period"
          options={RANGES.map(({ days, label }) => ({ value: days, label }))}
          chosen={search.days}
          onChoose={onDays}
        />
        <div className="w-full sm:w-56">
          <Select label="Key" value={search.key ?? ""} onChange={(event) => onKey(event.target.value || undefined)}>
            <option value="">All keys</option>
            {keys.map((key) => (
              <option key={key.id} value={key.id}>
                {key.name}
              </option>
            ))}
            {search.key !== undefined && keys.every((key) => key.id !== search.key) && (
              <option value={search.key}>A deleted key</option>
            )}
          </Select>
        </div>
      </div>
      <LoadedCards of={asked.summary} lines={4}>
        {(summary) =>
          summary.summary.totalRequests === 0 ? (
            <Card>
              <EmptyState icon={ChartColumn} title="Nothing used in this period">
                Requests appear here within seconds of being sent through the proxy.
              </EmptyState>
            </Card>
          ) : (
            <>
              <Sums of={summary} />
              <Charts {...asked} />
              <Breakdowns {...asked} />
            </>
          )
        }
      </LoadedCards>
      {children}
    </Page>
  );
}

function Sums({ of: { summary, previous } }: { of: Schemas["SummaryAnswer"] }) {
  const before = previous.summary;
  return (
    <div className="grid grid-cols-2 gap-4 xl:grid-cols-4">
      <Figure
        label="Requests"
        value={count(summary.totalRequests)}
        note={compared(summary.totalRequests, before.totalRequests)}
      />
      <Figure
        label="Data"
        value={bytes(summary.totalBytes)}
        note={`${bytes(summary.bytesDownloaded)} down, ${bytes(summary.bytesUploaded)} up`}
      />
      <Figure label="Paid for" value={bytes(summary.billedBytes)} note={compared(summary.billedBytes, before.billedBytes)} />
      <Figure
        label="Succeeded"
        value={percent(summary.successRate)}
        note={summary.avgResponseTimeMs == null ? plural(summary.failedRequests, "failure") : `${plural(summary.failedRequests, "failure")}, ${count(summary.avgResponseTimeMs)} ms on average`}
      />
    </div>
  );
}

/** How much more or less it is than in the period before. */
function compared(now: number, before: number): string {
  if (before === 0) return "None in the period before";
  const change = Math.round((now / before - 1) * 100);
  if (change === 0) return "As in the period before";
  return `${count(Math.abs(change))} % ${change > 0 ? "more" : "less"} than before`;
}

function percent(rate: number | null | undefined): string {
  return rate == null ? "–" : `${rate.toLocaleString("en-US", { maximumFractionDigits: 1 })} %`;
}

const REQUESTS = [
  { label: "Succeeded", fill: "fill-accent" },
  { label: "Failed", fill: "fill-danger" },
];
const DATA = [
  { label: "Down", fill: "fill-accent" },
  { label: "Up", fill: "fill-good" },
];

function Charts({ daily, hourly }: Pick<UsageViewProps, "daily" | "hourly">) {
  return (
    <>
      <div className="grid gap-4 lg:grid-cols-2">
        <Card>
          <Loaded of={daily} lines={8}>
            {({ days }) => (
              <BarChart
                title={isByWeek(days.length) ? "Requests by week" : "Requests by day"}
                unit={isByWeek(days.length) ? "Week from" : "Day"}
                parts={REQUESTS}
                bars={bars(days, (day) => [day.successfulRequests, day.failedRequests])}
                format={count}
              />
            )}
          </Loaded>
        </Card>
        <Card>
          <Loaded of={daily} lines={8}>
            {({ days }) => (
              <BarChart
                title={isByWeek(days.length) ? "Data by week" : "Data by day"}
                unit={isByWeek(days.length) ? "Week from" : "Day"}
                parts={DATA}
                bars={bars(days, (day) => [day.bytesDownloaded, day.bytesUploaded])}
                format={bytes}
              />
            )}
          </Loaded>
        </Card>
      </div>
      <Card>
        <Loaded of={hourly} lines={8}>
          {({ hours }) => (
            <BarChart
              title="Requests by hour of the day"
              unit="Hour"
              parts={REQUESTS}
              bars={hours.map((hour) => ({
                label: `${String(hour.hour).padStart(2, "0")}:00`,
                values: [hour.successfulRequests, hour.failedRequests],
              }))}
              format={count}
            />
          )}
        </Loaded>
      </Card>
    </>
  );
}

/** More parts than this are one. */
const MOST_SHARES = 8;

function Breakdowns({ countries, destinations, statuses }: Pick<UsageViewProps, "countries" | "destinations" | "statuses">) {
  return (
    <div className="grid gap-4 md:grid-cols-2 xl:grid-cols-3">
      <Card title="By exit country">
        <Loaded of={countries}>
          {(answer) => <Shares label="Requests by exit country" shares={shares(answer.countries, (sums) => countryName(sums.country))} />}
        </Loaded>
      </Card>
      <Card title="By destination">
        <Loaded of={destinations}>
          {(answer) => <Shares label="Requests by destination" shares={shares(answer.destinations, (sums) => sums.host ?? "All others")} />}
        </Loaded>
      </Card>
      <Card title="By outcome">
        <Loaded of={statuses}>
          {(answer) => <Shares label="Requests by outcome" shares={shares(answer.statuses, outcome)} />}
        </Loaded>
      </Card>
    </div>
  );
}

/** The largest by requests; what is left is one. */
function shares<Row extends Sums>(rows: Row[], name: (row: Row) => string): Share[] {
  const shown = rows.slice(0, MOST_SHARES).map((row) => share(name(row), row.totalRequests, row.totalBytes));
  const rest = rows.slice(MOST_SHARES);
  if (rest.length === 0) return shown;
  const sum = (value: (row: Row) => number) => rest.reduce((total, row) => total + value(row), 0);
  return [...shown, share(`${rest.length} more`, sum((row) => row.totalRequests), sum((row) => row.totalBytes))];
}

function share(name: string, requests: number, volume: number): Share {
  return { name, value: requests, text: count(requests), note: bytes(volume) };
}

function outcome({ statusCode, error }: Schemas["StatusSums"]): string {
  const status = statusCode == null ? "No status" : String(statusCode);
  return error ? `${status} ${error}` : status;
}
