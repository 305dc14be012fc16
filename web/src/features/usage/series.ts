import type { Bar } from "@/components/bar-chart";
import { shortDate } from "@/lib/short-date";

/** A local day with what was used in it; the API gives every day of a period, oldest first. */
export interface Day {
  date: string;
  successfulRequests: number;
  failedRequests: number;
  bytesDownloaded: number;
  bytesUploaded: number;
}

/** More days than this are drawn by week. */
const MOST_DAYS = 92;

/** Whether so many days are drawn by week. */
export function isByWeek(days: number): boolean {
  return days > MOST_DAYS;
}

/** Bars by day, or by seven days where there are many. */
export function bars(days: Day[], values: (day: Day) => number[]): Bar[] {
  const groupOf = isByWeek(days.length) ? 7 : 1;
  const grouped: Bar[] = [];
  days.forEach((day, at) => {
    const bar = grouped.at(-1);
    if (bar && at % groupOf !== 0) {
      bar.values = bar.values.map((value, part) => value + (values(day)[part] ?? 0));
    } else {
      grouped.push({ label: shortDate(day.date), values: values(day) });
    }
  });
  return grouped;
}
