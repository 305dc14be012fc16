/**
 * The moment at which clocks of a time zone show a local time, as RFC 3339.
 *
 * @param local as `<input type="datetime-local">` gives it: `2026-03-29T02:30`. A time that clocks skip is taken for the
 *   moment as long after the change; of one that comes twice, the first is meant.
 */
export function momentOf(local: string, timeZone: string): string {
  const asIfUtc = Date.parse(`${local}Z`);
  const candidates = [asIfUtc - 86_400_000, asIfUtc + 86_400_000].map((near) => asIfUtc - offset(near, timeZone));
  const fits = candidates.filter((moment) => moment + offset(moment, timeZone) === asIfUtc);
  return new Date(fits.length > 0 ? Math.min(...fits) : Math.max(...candidates)).toISOString();
}

/** What clocks of a time zone show at a moment, for `<input type="datetime-local">`. */
export function localOf(moment: string, timeZone: string): string {
  const time = Date.parse(moment);
  return new Date(time + offset(time, timeZone)).toISOString().slice(0, 16);
}

/** How far clocks of the zone are ahead of UTC, in ms. */
function offset(moment: number, timeZone: string): number {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  const shown = new Map(format.formatToParts(moment).map((part) => [part.type, Number(part.value)]));
  const part = (type: Intl.DateTimeFormatPartTypes) => shown.get(type) ?? 0;
  const local = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return local - Math.floor(moment / 1000) * 1000;
}
