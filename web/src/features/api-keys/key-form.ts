import type { components } from "@/api/schema";
import { type Parsed, bytesOfGb, entries, gbText, wholeNumber } from "@/lib/parse";
import { localOf, momentOf } from "@/lib/zone";

type Schemas = components["schemas"];
export type KeyInfo = Schemas["KeyInfo"];
export type Limits = Schemas["Limits"];
export type Wanted = Schemas["CreateKeyBody"];

/** A key as its form has it: texts, as they are typed, under the names by which the API complains of them. Volumes are in GB. */
export type KeyTexts = Record<KeyField, string>;

export type KeyField =
  | "name"
  | "expiresAt"
  | "ipWhitelist"
  | "limits.requestsPerSecond"
  | "limits.burst"
  | "limits.maxConnections"
  | "limits.bytesPerDay"
  | "limits.bytesPerMonth"
  | "limits.bytesTotal"
  | "limits.countries"
  | "limits.allowDestinations"
  | "limits.denyDestinations"
  | "limits.ports";

/** All that the plan allows. */
export const NO_LIMITS: Limits = {
  requestsPerSecond: null,
  burst: null,
  maxConnections: null,
  bytesPerDay: null,
  bytesPerMonth: null,
  bytesTotal: null,
  countries: [],
  allowDestinations: [],
  denyDestinations: [],
  ports: [],
};

/** What the form of a key begins with; times are those of the zone's clocks. */
export function textsOf(key: KeyInfo | undefined, timeZone: string): KeyTexts {
  const limits = key?.limits ?? NO_LIMITS;
  const text = (value: number | null | undefined) => value?.toString() ?? "";
  return {
    name: key?.name ?? "",
    expiresAt: key?.expiresAt ? localOf(key.expiresAt, timeZone) : "",
    ipWhitelist: (key?.ipWhitelist ?? []).join("\n"),
    "limits.requestsPerSecond": text(limits.requestsPerSecond),
    "limits.burst": text(limits.burst),
    "limits.maxConnections": text(limits.maxConnections),
    "limits.bytesPerDay": gbText(limits.bytesPerDay),
    "limits.bytesPerMonth": gbText(limits.bytesPerMonth),
    "limits.bytesTotal": gbText(limits.bytesTotal),
    "limits.countries": limits.countries.join(", "),
    "limits.allowDestinations": limits.allowDestinations.join("\n"),
    "limits.denyDestinations": limits.denyDestinations.join("\n"),
    "limits.ports": limits.ports.join(", "),
  };
}

/**
 * What the form asks for, and what in it can't be read. Whether the rest may be so, the API decides.
 *
 * @param values those of {@link KeyTexts} that the form shows, and `ipLogin` where it is ticked
 */
export function readKey(values: Record<string, string>, timeZone: string): { wanted: Wanted; problems: Record<string, string> } {
  const problems: Record<string, string> = {};
  const text = (field: KeyField) => values[field] ?? "";
  const number = (field: KeyField, parse: (text: string) => Parsed<number>, given = text(field)): number | null => {
    const parsed = parse(given);
    if ("value" in parsed) return parsed.value;
    problems[field] = parsed.problem;
    return null;
  };
  const name = text("name").trim();
  if (name === "") problems["name"] = "Give the key a name";
  const expiresAt = text("expiresAt");
  const wanted: Wanted = {
    name,
    expiresAt: expiresAt === "" ? null : momentOf(expiresAt, timeZone),
    ipWhitelist: entries(text("ipWhitelist")),
    ipLogin: values["ipLogin"] !== undefined,
    limits: {
      requestsPerSecond: number("limits.requestsPerSecond", wholeNumber),
      burst: number("limits.burst", wholeNumber),
      maxConnections: number("limits.maxConnections", wholeNumber),
      bytesPerDay: number("limits.bytesPerDay", bytesOfGb),
      bytesPerMonth: number("limits.bytesPerMonth", bytesOfGb),
      bytesTotal: number("limits.bytesTotal", bytesOfGb),
      countries: entries(text("limits.countries")).map((code) => (/^eu$/i.test(code) ? "eu" : code.toUpperCase())),
      allowDestinations: entries(text("limits.allowDestinations")),
      denyDestinations: entries(text("limits.denyDestinations")),
      ports: entries(text("limits.ports")).map((port) => number("limits.ports", portNumber, port) ?? 0),
    },
  };
  return { wanted, problems };
}

function portNumber(text: string): Parsed<number> {
  const port = Number(text);
  const isPort = /^\d{1,5}$/.test(text) && port >= 1 && port <= 65535;
  return isPort ? { value: port } : { problem: "Ports are numbers from 1 to 65535" };
}

/** The limits of a key in a few words each, for lists. */
export function describeLimits(limits: Limits, bytes: (bytes: number) => string): string[] {
  const words: string[] = [];
  if (limits.requestsPerSecond) words.push(`${limits.requestsPerSecond} requests/s`);
  if (limits.maxConnections) words.push(`${limits.maxConnections} connections`);
  if (limits.bytesPerDay) words.push(`${bytes(limits.bytesPerDay)} a day`);
  if (limits.bytesPerMonth) words.push(`${bytes(limits.bytesPerMonth)} a month`);
  if (limits.bytesTotal) words.push(`${bytes(limits.bytesTotal)} in all`);
  const { countries, allowDestinations, denyDestinations, ports } = limits;
  if (countries.length > 0) words.push(countries.length > 3 ? `${countries.length} countries` : countries.join(", "));
  if (allowDestinations.length > 0) words.push(`only ${counted(allowDestinations.length, "destination")}`);
  if (denyDestinations.length > 0) words.push(`not ${counted(denyDestinations.length, "destination")}`);
  if (ports.length > 0) words.push(ports.length > 3 ? `${ports.length} ports` : `port ${ports.join(", ")}`);
  return words;
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}
