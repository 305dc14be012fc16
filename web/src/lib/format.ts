const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** Bytes in decimal units, as they are billed: 1 GB is 10^9 bytes. */
export function bytes(amount: number): string {
  const sign = amount < 0 ? "−" : "";
  let value = Math.abs(amount);
  let unit = 0;
  // Rounding may reach the next unit: 999,950 bytes are 1 MB, not 1,000 kB.
  while (unit < UNITS.length - 1 && Number(value.toPrecision(3)) >= 1000) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  const text = value.toLocaleString("en-US", { maximumFractionDigits: digits });
  return `${sign}${text} ${UNITS[unit]}`;
}

/** Micro-dollars as dollars: two places, more where the amount has them. */
export function money(micros: number): string {
  const text = Math.abs(micros / 1e6).toLocaleString("en-US", {
    style: "currency",
    currency: "USD",
    maximumFractionDigits: 6,
  });
  return micros < 0 ? `−${text}` : text;
}

/** Cents as dollars. */
export function cents(amount: number): string {
  return money(amount * 10_000);
}

/** A decimal string of dollars, as the API writes prices. */
export function dollars(decimal: string): string {
  return money(Math.round(Number(decimal) * 1e6));
}

/** A whole number with separators. */
export function count(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** `n thing` or `n things`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** An RFC 3339 time as day and minute in a time zone of the IANA database: `Nov 27, 2026, 14:05`. */
export function dateTime(time: string, timeZone: string): string {
  return write(time, timeZone, { dateStyle: "medium", timeStyle: "short" });
}

/** The day of an RFC 3339 time in a time zone of the IANA database: `Nov 27, 2026`. */
export function date(time: string, timeZone: string): string {
  return write(time, timeZone, { dateStyle: "medium" });
}

function write(time: string, timeZone: string, style: Intl.DateTimeFormatOptions): string {
  const moment = new Date(time);
  if (Number.isNaN(moment.getTime())) return time;
  const options = { ...style, hourCycle: "h23" } as const;
  try {
    return moment.toLocaleString("en-US", { ...options, timeZone });
  } catch {
    // A zone that this browser does not know yet.
    return moment.toLocaleString("en-US", { ...options, timeZone: "UTC" });
  }
}

/** Seconds as a wait in words: `30 seconds`, `5 minutes`. Rounded up: who waits so long may go on. */
export function wait(seconds: number): string {
  if (seconds < 90) return plural(Math.max(1, Math.ceil(seconds)), "second");
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? plural(minutes, "minute") : plural(Math.ceil(minutes / 60), "hour");
}
