import type { components } from "@/api/schema";

type Schemas = components["schemas"];

const period = { days: 30, from: "2026-10-29T00:00:00Z", to: "2026-11-28T00:00:00Z", tz: "UTC" };

/** Sums over so many requests, a tenth of which failed. */
export function sums(totalRequests: number): Schemas["Sums"] {
  const failedRequests = Math.floor(totalRequests / 10);
  return {
    totalRequests,
    failedRequests,
    successfulRequests: totalRequests - failedRequests,
    successRate: totalRequests === 0 ? null : 90,
    avgResponseTimeMs: totalRequests === 0 ? null : 240,
    bytesDownloaded: totalRequests * 1_000_000,
    bytesUploaded: totalRequests * 1000,
    totalBytes: totalRequests * 1_001_000,
    totalGbTransferred: (totalRequests * 1_001_000) / 1e9,
    billedBytes: totalRequests * 1_001_000,
  };
}

export function summary(now: number, before: number): Schemas["SummaryAnswer"] {
  return { period, summary: sums(now), previous: { period, summary: sums(before) } };
}

/** The same use on two days. */
export function daily(requests: number): Schemas["DailyAnswer"] {
  return { period, days: ["2026-11-26", "2026-11-27"].map((date) => ({ ...sums(requests), date })) };
}

export const inPeriod = { period };
