import { Link } from "@tanstack/react-router";
import { Check } from "lucide-react";
import type { ReactNode } from "react";

import type { components } from "@/api/schema";
import type { Session } from "@/api/session";
import { BarChart } from "@/components/bar-chart";
import { CodeLine } from "@/components/code-line";
import { type Asked, Loaded } from "@/components/loaded";
import { Page } from "@/components/page";
import { Shares } from "@/components/shares";
import { Badge } from "@/components/ui/badge";
import { Card, Figure } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/skeleton";
import { classes } from "@/lib/classes";
import { countryName } from "@/lib/countries";
import { bytes, count, dateTime, plural } from "@/lib/format";
import { paths } from "@/lib/paths";
import { shortDate } from "@/lib/short-date";
import type { Numbers } from "./live";

type Schemas = components["schemas"];
type KeyInfo = Schemas["KeyInfo"];
type Network = Schemas["NodeStats"];

interface Props {
  session: Session;
  today: Asked<Schemas["SummaryAnswer"]>;
  month: Asked<Schemas["SummaryAnswer"]>;
  daily: Asked<Schemas["DailyAnswer"]>;
  keys: Asked<Schemas["KeyList"]>;
  network: Asked<Network>;
  /** What happens at this moment; none: not known. */
  live: Numbers | undefined;
  /** `http://USER:API_KEY@host:port`; none: not known yet. */
  connection: string | undefined;
}

/** How the account stands, what it used, and what it can use. */
export function OverviewView({ session, today, month, daily, keys, network, live, connection }: Props) {
  const balance = live?.balanceBytes ?? session.balance.balanceBytes;
  const before = month.data?.previous.summary.successRate;
  const isUnused = month.data?.summary.totalRequests === 0;
  return (
    <Page title="Dashboard" description={`Welcome, ${session.user.firstName}.`} action={<Live numbers={live} />}>
      <div className="grid grid-cols-2 gap-4 xl:grid-cols-4">
        <Figure
          label="Balance"
          value={bytes(balance)}
          note={
            <>
              {session.plan?.name ?? "No plan"} · <PageLink to={paths.billing}>Billing</PageLink>
            </>
          }
        />
        <Usage label="Requests today" today={today} month={month} value={(sums) => count(sums.totalRequests)} />
        <Usage label="Data today" today={today} month={month} value={(sums) => bytes(sums.totalBytes)} />
        <Figure
          label="Succeeded"
          value={pending(month) ?? percent(month.data?.summary.successRate)}
          note={before === undefined || before === null ? "In 30 days" : `In 30 days; ${percent(before)} before`}
        />
      </div>
      {isUnused && <FirstSteps hasKey={(keys.data?.keys.length ?? 0) > 0} connection={connection} />}
      <div className="grid items-start gap-4 lg:grid-cols-3">
        <div className="min-w-0 space-y-4 lg:col-span-2">
          {!isUnused && (
            <Card title="Last 30 days" action={<PageLink to={paths.usage}>All usage</PageLink>}>
              <Loaded of={daily} lines={8}>
                {({ days }) => (
                  <BarChart
                    title="Requests by day"
                    unit="Day"
                    parts={[
                      { label: "Succeeded", fill: "fill-accent" },
                      { label: "Failed", fill: "fill-danger" },
                    ]}
                    bars={days.map((day) => ({
                      label: shortDate(day.date),
                      values: [day.successfulRequests, day.failedRequests],
                    }))}
                    format={count}
                  />
                )}
              </Loaded>
            </Card>
          )}
          <Card title="API keys" action={<PageLink to={paths.apiKeys}>All keys</PageLink>}>
            <Loaded of={keys}>
              {(list) => <Keys keys={list.keys} timeZone={session.user.timeZone} />}
            </Loaded>
          </Card>
        </div>
        <Card title="Network" description="Devices that are connected now">
          <Loaded of={network} lines={6}>
            {(stats) => <NetworkNow stats={stats} />}
          </Loaded>
        </Card>
      </div>
    </Page>
  );
}

function Usage({
  label,
  today,
  month,
  value,
}: Pick<Props, "today" | "month"> & { label: string; value: (sums: Schemas["Sums"]) => string }) {
  return (
    <Figure
      label={label}
      value={pending(today) ?? (today.data ? value(today.data.summary) : "–")}
      note={`${month.data ? value(month.data.summary) : "–"} in 30 days`}
    />
  );
}

/** What stands in a figure's place while it is loading; none: it is loaded, or failed. */
function pending({ data, error }: Asked<unknown>): ReactNode {
  return data === undefined && error === null ? <Skeleton className="my-1 h-6 w-24" /> : undefined;
}

function percent(rate: number | null | undefined): string {
  return rate == null ? "–" : `${rate.toLocaleString("en-US", { maximumFractionDigits: 1 })} %`;
}

/** What passes through the proxy at this moment. */
function Live({ numbers }: { numbers: Numbers | undefined }) {
  return (
    <p className="flex flex-wrap items-center gap-x-4 gap-y-1 text-sm text-soft tabular-nums">
      <span className="flex items-center gap-2">
        <span aria-hidden className={classes("size-2 rounded-full", numbers ? "bg-good" : "bg-edge")} />
        {numbers ? "Live" : "Connecting …"}
      </span>
      {numbers && (
        <>
          <span>{plural(numbers.activeConnections, "connection")}</span>
          <span>{plural(numbers.requests, "request")} in the last minute</span>
          <span>{bytes(numbers.bytesPerSecond)}/s</span>
        </>
      )}
    </p>
  );
}

/** What to do before there is anything to show. */
function FirstSteps({ hasKey, connection }: { hasKey: boolean } & Pick<Props, "connection">) {
  return (
    <Card title="First steps" description="Nothing was sent through the proxy in the last 30 days.">
      <ol className="space-y-5 text-sm">
        <Step number={1} isDone={hasKey} title="Make an API key">
          It is the password of the proxy. <PageLink to={paths.apiKeys}>{hasKey ? "See your keys" : "Make your first key"}</PageLink>
        </Step>
        <Step number={2} title="Send a request">
          Put the key in the place of API_KEY.
          {connection !== undefined && (
            <div className="mt-3">
              <CodeLine label="Command" text={`curl -x ${connection} https://example.com/`} />
            </div>
          )}
        </Step>
        <Step number={3} title="See what it used">
          Requests appear within seconds. <PageLink to={paths.usage}>Open usage</PageLink>
        </Step>
      </ol>
    </Card>
  );
}

function Step({ number, title, isDone = false, children }: { number: number; title: string; isDone?: boolean; children: ReactNode }) {
  return (
    <li className="flex gap-4">
      <span
        aria-hidden
        className={classes(
          "flex size-7 shrink-0 items-center justify-center rounded-full font-semibold",
          isDone ? "bg-good-soft text-good" : "bg-accent-soft text-accent",
        )}
      >
        {isDone ? <Check className="size-4" /> : number}
      </span>
      <div className="min-w-0 flex-1">
        <p className="font-medium">
          {title}
          {isDone && <span className="sr-only"> (done)</span>}
        </p>
        <div className="mt-0.5 text-soft">{children}</div>
      </div>
    </li>
  );
}

/** Keys that are listed here; the page of the keys has all. */
const MOST_KEYS = 5;

function Keys({ keys, timeZone }: { keys: KeyInfo[]; timeZone: string }) {
  if (keys.length === 0) return <p className="text-sm text-soft">No keys yet.</p>;
  return (
    <ul aria-label="API keys" className="divide-y divide-line text-sm">
      {keys.slice(0, MOST_KEYS).map((key) => (
        <li key={key.id} className="flex flex-wrap items-center justify-between gap-x-4 gap-y-1 py-2.5 first:pt-0 last:pb-0">
          <span className="min-w-0">
            <span className="font-medium wrap-anywhere">{key.name}</span>{" "}
            <span className="font-mono text-xs text-soft">{key.keyPrefix}…</span>
          </span>
          <span className="flex items-center gap-3 text-soft">
            {key.lastUsedAt ? dateTime(key.lastUsedAt, timeZone) : "Never used"}
            {key.isActive ? <Badge kind="good">Active</Badge> : <Badge>Disabled</Badge>}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** Countries that are told by name. */
const MOST_COUNTRIES = 8;

function NetworkNow({ stats }: { stats: Network }) {
  const countries = Object.entries(stats.countryBreakdown).sort(([, a], [, b]) => b - a);
  const known = countries.filter(([code]) => code !== "ZZ").length;
  return (
    <div className="space-y-5">
      <dl className="grid grid-cols-2 gap-4 text-sm">
        <Fact name="Connected" value={count(stats.connectedNodes)} />
        <Fact name="Take requests" value={count(stats.availableNodes)} />
        <Fact name="Countries" value={count(known)} />
        <Fact name="Mean quality" value={stats.averageQuality == null ? "–" : `${count(stats.averageQuality)} of 100`} />
      </dl>
      {countries.length > 0 ? (
        <Shares
          label="Devices by country"
          shares={countries.slice(0, MOST_COUNTRIES).map(([code, nodes]) => ({ name: countryName(code), value: nodes, text: count(nodes) }))}
        />
      ) : (
        <p className="text-sm text-soft">No device is connected at the moment.</p>
      )}
      {countries.length > MOST_COUNTRIES && (
        <p className="text-sm text-soft">And {plural(countries.length - MOST_COUNTRIES, "more country", "more countries")}.</p>
      )}
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt className="text-soft">{name}</dt>
      <dd className="text-lg font-semibold tabular-nums">{value}</dd>
    </div>
  );
}

function PageLink({ to, children }: { to: typeof paths.apiKeys | typeof paths.usage | typeof paths.billing; children: string }) {
  return (
    <Link to={to} search={{}} className="text-sm font-medium text-accent underline underline-offset-2">
      {children}
    </Link>
  );
}
