const format = new Intl.DateTimeFormat("en-US", { day: "numeric", month: "short", timeZone: "UTC" });

/** The day `2026-03-29` as `Mar 29`: a date of the calendar, in no time zone. */
export function shortDate(date: string): string {
  return format.format(new Date(`${date}T00:00:00Z`));
}
