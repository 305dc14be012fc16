/** What the usage page shows, as it stands in the URL: a link shows the same to who opens it. */
export interface UsageSearch {
  days: Days;
  key?: string;
  /** Filters of the requests; empty ones are not in the URL. */
  host?: string;
  country?: string;
  code?: string;
  status?: number;
  type?: ProxyType;
  session?: string;
}

export const RANGES = [
  { days: 1, label: "Today" },
  { days: 7, label: "7 days" },
  { days: 30, label: "30 days" },
  { days: 90, label: "3 months" },
  { days: 365, label: "1 year" },
] as const;

export const PROXY_TYPES = ["http", "connect", "socks5"] as const;

export type Days = (typeof RANGES)[number]["days"];
export type ProxyType = (typeof PROXY_TYPES)[number];

/** Reads the URL; what can't be meant is left out. */
export function readSearch(given: Record<string, unknown>): UsageSearch {
  const days = RANGES.find((range) => range.days === Number(given.days))?.days ?? 30;
  const status = Number(given.status);
  const type = PROXY_TYPES.find((known) => known === given.type);
  const country = text(given.country)?.toUpperCase();
  const search: UsageSearch = { days };
  const key = text(given.key);
  if (key && /^[0-9a-f-]{36}$/i.test(key)) search.key = key;
  if (country && /^[A-Z]{2}$/.test(country)) search.country = country;
  if (Number.isInteger(status) && status >= 100 && status <= 599) search.status = status;
  if (type) search.type = type;
  for (const name of ["host", "code", "session"] as const) {
    const value = text(given[name]);
    if (value) search[name] = value;
  }
  return search;
}

/** Which requests are listed, as the API takes it. */
export function filtersOf(search: UsageSearch) {
  const { key, host, country, code, status, type, session } = search;
  return { apiKeyId: key, host, country, code, status, type, session };
}

/** Whether some requests of the period are left out. */
export function isFiltered({ host, country, code, status, type, session }: UsageSearch): boolean {
  return [host, country, code, status, type, session].some((filter) => filter !== undefined);
}

/** Where the requests that fit are downloaded. */
export function exportPath(search: UsageSearch, from: string, format: "csv" | "ndjson"): string {
  const query = new URLSearchParams({ format, from });
  for (const [name, value] of Object.entries(filtersOf(search))) {
    if (value !== undefined) query.set(name, String(value));
  }
  return `/api/usage/requests/export?${query}`;
}

function text(value: unknown): string | undefined {
  const trimmed = typeof value === "string" || typeof value === "number" ? String(value).trim() : "";
  return trimmed === "" ? undefined : trimmed;
}
