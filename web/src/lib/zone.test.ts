import { expect, it } from "vitest";

import { localOf, momentOf } from "./zone";

it("reads local times on both sides of a change of the clocks", () => {
  expect(momentOf("2026-03-28T12:00", "Europe/Berlin")).toBe("2026-03-28T11:00:00.000Z");
  expect(momentOf("2026-03-30T12:00", "Europe/Berlin")).toBe("2026-03-30T10:00:00.000Z");
  expect(momentOf("2026-06-01T00:00", "Asia/Kathmandu")).toBe("2026-05-31T18:15:00.000Z");
});

it("goes forward from a time that clocks skip, and means the first of two", () => {
  expect(momentOf("2026-03-29T02:30", "Europe/Berlin")).toBe("2026-03-29T01:30:00.000Z");
  expect(momentOf("2026-10-25T02:30", "Europe/Berlin")).toBe("2026-10-25T00:30:00.000Z");
});

it("shows a moment as it is read back", () => {
  for (const zone of ["UTC", "America/New_York", "Australia/Lord_Howe"]) {
    expect(momentOf(localOf("2027-01-15T08:45:00Z", zone), zone)).toBe("2027-01-15T08:45:00.000Z");
  }
});
