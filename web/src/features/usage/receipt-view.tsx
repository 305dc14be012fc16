import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { type Asked, LoadedCards } from "@/components/loaded";
import { Page } from "@/components/page";
import { buttonClasses } from "@/components/ui/button";
import { Card, Figure } from "@/components/ui/card";
import { bytes, count, dateTime } from "@/lib/format";
import { paths } from "@/lib/paths";
import { Outcome, type RequestInfo, place } from "./requests-view";

interface Props {
  requestId: string;
  request: Asked<RequestInfo>;
  timeZone: string;
}

/** All about one request: what it moved and cost, where it left, how long each part took. */
export function ReceiptView({ requestId, request, timeZone }: Props) {
  const back = (
    <Link to={paths.usage} search={{ days: 30 }} className={buttonClasses("secondary", "small")}>
      All usage
    </Link>
  );
  return (
    <Page title="Request" description={<span className="font-mono wrap-anywhere">{requestId}</span>} action={back}>
      <LoadedCards of={request} lines={6}>
        {(found) => <Receipt of={found} timeZone={timeZone} />}
      </LoadedCards>
    </Page>
  );
}

function Receipt({ of: request, timeZone }: { of: RequestInfo; timeZone: string }) {
  return (
    <>
      <div className="grid gap-4 sm:grid-cols-3">
        <Figure label="Downloaded" value={bytes(request.bytesDownloaded)} note={exact(request.bytesDownloaded)} />
        <Figure label="Uploaded" value={bytes(request.bytesUploaded)} note={exact(request.bytesUploaded)} />
        <Figure
          label="Paid for"
          value={bytes(request.billedBytes)}
          note={request.billable ? exact(request.billedBytes) : "The failure was ours: it cost nothing"}
        />
      </div>
      <div className="grid items-start gap-4 lg:grid-cols-2">
        <Card title="Request">
          <Facts
            facts={[
              ["Destination", request.destination],
              ["Outcome", <Outcome key="outcome" of={request} />],
              ["By", request.proxyType],
              ["Session", request.sessionId ?? "None"],
              ["Begun", dateTime(request.startedAt, timeZone)],
              ["Ended", request.endedAt ? dateTime(request.endedAt, timeZone) : "It still runs"],
            ]}
          />
        </Card>
        <Card title="Exit and times">
          <Facts
            facts={[
              ["Place", request.targetCountry ? place(request) : "No exit"],
              ["Network", [request.exitNetwork, request.exitAsn == null ? undefined : `AS${request.exitAsn}`].filter(Boolean).join(", ") || "–"],
              ["Exits tried", count(request.attempts)],
              ["Choosing the exit", time(request.selectMs)],
              ["Dialing", time(request.dialMs)],
              ["First byte", time(request.firstByteMs)],
              ["In all", time(request.durationMs)],
            ]}
          />
        </Card>
      </div>
    </>
  );
}

function Facts({ facts }: { facts: [name: string, value: ReactNode][] }) {
  return (
    <dl className="divide-y divide-line text-sm">
      {facts.map(([name, value]) => (
        <div key={name} className="flex justify-between gap-6 py-2 first:pt-0 last:pb-0">
          <dt className="shrink-0 text-soft">{name}</dt>
          <dd className="text-right wrap-anywhere tabular-nums">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function exact(value: number): string {
  return `${count(value)} bytes`;
}

function time(ms: number | null | undefined): string {
  return ms == null ? "–" : `${count(ms)} ms`;
}
