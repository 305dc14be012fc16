import { expect, it } from "vitest";

import { exportPath, readSearch } from "./search";

it("shows 30 days unless the link says otherwise", () => {
  expect(readSearch({})).toEqual({ days: 30 });
  expect(readSearch({ days: "7" })).toEqual({ days: 7 });
  expect(readSearch({ days: 8 })).toEqual({ days: 30 });
});

it("leaves out what can't be meant", () => {
  const odd = { country: "Germany", status: "teapot", type: "ftp", key: "x", host: " ", session: {} };
  expect(readSearch(odd)).toEqual({ days: 30 });
});

it("keeps every filter", () => {
  const given = { country: "de", status: "502", type: "socks5", host: "example.com", code: "no_exit", session: "a" };
  expect(readSearch(given)).toEqual({ ...given, days: 30, country: "DE", status: 502 });
});

it("exports what is shown", () => {
  const search = readSearch({ host: "example.com", country: "DE" });
  expect(exportPath(search, "2026-11-01T00:00:00Z", "csv")).toBe(
    "/api/usage/requests/export?format=csv&from=2026-11-01T00%3A00%3A00Z&host=example.com&country=DE",
  );
});
