import { expect, it } from "vitest";

import { bars, type Day } from "./series";

function days(count: number): Day[] {
  return Array.from({ length: count }, (_, at) => ({
    date: new Date(Date.UTC(2026, 0, 1 + at)).toISOString().slice(0, 10),
    successfulRequests: 1,
    failedRequests: 2,
    bytesDownloaded: 0,
    bytesUploaded: 0,
  }));
}

const requests = (day: Day) => [day.successfulRequests, day.failedRequests];

it("draws a month by day", () => {
  const drawn = bars(days(30), requests);
  expect(drawn).toHaveLength(30);
  expect(drawn[0]).toEqual({ label: "Jan 1", values: [1, 2] });
});

it("draws a year by week and loses no day", () => {
  const drawn = bars(days(365), requests);
  expect(drawn).toHaveLength(53);
  expect(drawn[0]).toEqual({ label: "Jan 1", values: [7, 14] });
  expect(drawn.reduce((sum, bar) => sum + (bar.values[0] ?? 0), 0)).toBe(365);
});
