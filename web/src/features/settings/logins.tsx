import { useState } from "react";

import { CallError } from "@/components/call-error";
import { type Asked, Loaded } from "@/components/loaded";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { dateTime } from "@/lib/format";
import type { Login } from "./queries";

/** So many are shown at first; the one seen last comes first. */
const SHOWN = 6;

interface Props {
  logins: Asked<{ sessions: Login[] }>;
  timeZone: string;
  /** The login that is being ended. */
  ending: Login | undefined;
  isEndingOthers: boolean;
  error: Error | null;
  onEnd: (login: Login) => void;
  onEndOthers: () => void;
}

/** Where the account is signed in; each login but this one can be ended here. */
export function Logins({ logins, timeZone, ending, isEndingOthers, error, onEnd, onEndOthers }: Props) {
  const [isWhole, setWhole] = useState(false);
  const hasOthers = logins.data?.sessions.some((login) => !login.isCurrent) ?? false;
  return (
    <Card
      title="Where you are signed in"
      action={
        hasOthers && (
          <Button look="secondary" size="small" isBusy={isEndingOthers} onClick={onEndOthers}>
            End all others
          </Button>
        )
      }
    >
      <div className="space-y-4">
        <CallError error={error} />
        <Loaded of={logins}>
          {({ sessions }) => (
            <ul aria-label="Logins" className="divide-y divide-line text-sm">
              {sessions.slice(0, isWhole ? undefined : SHOWN).map((login) => (
                <li key={login.id} className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 py-3 first:pt-0 last:pb-0">
                  <div className="min-w-0">
                    <p className="font-medium wrap-anywhere">
                      {program(login.userAgent)} <span className="font-normal text-soft">from {login.ipAddress}</span>
                    </p>
                    <p className="text-soft">
                      Seen {dateTime(login.lastSeenAt, timeZone)}, signed in {dateTime(login.createdAt, timeZone)}
                    </p>
                  </div>
                  {login.isCurrent ? (
                    <Badge kind="accent">This one</Badge>
                  ) : (
                    <Button
                      look="quiet"
                      size="small"
                      isBusy={ending?.id === login.id}
                      aria-label={`End the login from ${login.ipAddress}, seen ${dateTime(login.lastSeenAt, timeZone)}`}
                      onClick={() => onEnd(login)}
                    >
                      End
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          )}
        </Loaded>
        {!isWhole && logins.data && logins.data.sessions.length > SHOWN && (
          <Button look="secondary" size="small" onClick={() => setWhole(true)}>
            Show all {logins.data.sessions.length}
          </Button>
        )}
      </div>
    </Card>
  );
}

const BROWSERS: readonly [mark: RegExp, name: string][] = [
  [/Edg\//, "Edge"],
  [/OPR\//, "Opera"],
  [/Firefox\//, "Firefox"],
  [/Chrom(e|ium)\//, "Chrome"],
  [/Safari\//, "Safari"],
];

const SYSTEMS: readonly [mark: RegExp, name: string][] = [
  [/Windows/, "Windows"],
  [/iPhone|iPad/, "iOS"],
  [/Android/, "Android"],
  [/Mac OS X/, "macOS"],
  [/Linux/, "Linux"],
];

/** What a program that calls itself so is, as well as it can be told. */
export function program(userAgent: string): string {
  const find = (marks: typeof BROWSERS) => marks.find(([mark]) => mark.test(userAgent))?.[1];
  const browser = find(BROWSERS);
  const system = find(SYSTEMS);
  if (browser) return system ? `${browser} on ${system}` : browser;
  return userAgent.split(" ")[0] || "A program without a name";
}
