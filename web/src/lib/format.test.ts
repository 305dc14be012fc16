import { describe, expect, it } from "vitest";

import { bytes, cents, count, date, dateTime, dollars, money, plural, wait } from "./format";

describe("bytes", () => {
  it("are decimal, as they are billed, with three digits at most", () => {
    expect([0, 999, 1000, 1500, 999_949, 5_000_000_000, 12_345_678_901].map(bytes)).toEqual([
      "0 B",
      "999 B",
      "1 kB",
      "1.5 kB",
      "1 MB",
      "5 GB",
      "12.3 GB",
    ]);
  });

  it("owed have a minus", () => {
    expect(bytes(-1_500_000)).toBe("−1.5 MB");
  });
});

describe("money", () => {
  it("has two places, and more where the amount has them", () => {
    expect([0, 9_800_000, 4_990_001, -500_000].map(money)).toEqual(["$0.00", "$9.80", "$4.990001", "−$0.50"]);
    expect(cents(129_900)).toBe("$1,299.00");
    expect(dollars("9.80")).toBe("$9.80");
  });
});

describe("times", () => {
  it("are those of the account's zone", () => {
    expect(dateTime("2026-11-27T23:05:00Z", "UTC")).toBe("Nov 27, 2026, 23:05");
    expect(dateTime("2026-11-27T23:05:00Z", "Asia/Tokyo")).toBe("Nov 28, 2026, 08:05");
    expect(date("2026-11-27T23:05:00Z", "Asia/Tokyo")).toBe("Nov 28, 2026");
  });

  it("are shown somehow, whatever comes", () => {
    expect(dateTime("2026-11-27T23:05:00Z", "Mars/Olympus")).toBe("Nov 27, 2026, 23:05");
    expect(dateTime("soon", "UTC")).toBe("soon");
  });
});

it("counts and waits read as words", () => {
  expect(count(1_234_567)).toBe("1,234,567");
  expect([plural(1, "key"), plural(2, "key"), plural(0, "country", "countries")]).toEqual(["1 key", "2 keys", "0 countries"]);
  expect([0, 30, 240, 3600, 9000].map(wait)).toEqual(["1 second", "30 seconds", "4 minutes", "60 minutes", "3 hours"]);
});
