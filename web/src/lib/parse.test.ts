import { describe, expect, it } from "vitest";

import { bytesOfGb, centsOfDollars, dollarsText, entries, gbText, wholeNumber } from "./parse";

describe("amounts", () => {
  it("reads GB and dollars to the last byte and cent", () => {
    expect(bytesOfGb("0.3")).toEqual({ value: 300_000_000 });
    expect(bytesOfGb(" 1,5 ")).toEqual({ value: 1_500_000_000 });
    expect(bytesOfGb("0.000000001")).toEqual({ value: 1 });
    expect(centsOfDollars("12.5")).toEqual({ value: 1250 });
    expect(centsOfDollars("0")).toEqual({ value: 0 });
  });

  it("takes an empty field for no amount", () => {
    expect(wholeNumber("  ")).toEqual({ value: null });
  });

  it("refuses what is no amount", () => {
    for (const text of ["-1", "1e3", "five", "1.2.3", "."]) expect(bytesOfGb(text)).toHaveProperty("problem");
    expect(wholeNumber("1.5")).toHaveProperty("problem");
    expect(centsOfDollars("1.005")).toHaveProperty("problem");
    expect(bytesOfGb("99999999999")).toHaveProperty("problem");
  });

  it("shows what it reads back as the same", () => {
    for (const bytes of [1, 999, 1_500_000_000, 5_000_000_000, 123_456_789_012]) {
      expect(bytesOfGb(gbText(bytes))).toEqual({ value: bytes });
    }
    expect(gbText(null)).toBe("");
    expect(dollarsText(1250)).toBe("12.5");
    expect(dollarsText(0)).toBe("0");
  });
});

it("splits entries at commas, spaces and line ends", () => {
  expect(entries(" US, de\nfr,,\n")).toEqual(["US", "de", "fr"]);
  expect(entries("")).toEqual([]);
});
