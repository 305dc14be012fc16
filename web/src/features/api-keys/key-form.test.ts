import { describe, expect, it } from "vitest";

import { type KeyInfo, NO_LIMITS, describeLimits, readKey, textsOf } from "./key-form";

const key: KeyInfo = {
  id: "0192f0c4-0000-7000-8000-000000000001",
  name: "Crawler",
  keyPrefix: "iploop_0a1b2c3",
  isActive: true,
  ipWhitelist: ["192.0.2.7/32"],
  ipLogin: false,
  permissions: ["proxy"],
  limits: {
    requestsPerSecond: 20,
    burst: 40,
    maxConnections: 8,
    bytesPerDay: 500_000_000,
    bytesPerMonth: null,
    bytesTotal: 1,
    countries: ["US", "DE"],
    allowDestinations: ["example.com", "198.51.100.0/24"],
    denyDestinations: [],
    ports: [80, 443],
  },
  expiresAt: "2027-03-28T10:00:00.000Z",
  createdAt: "2026-11-01T00:00:00Z",
};

describe("the form of a key", () => {
  it("asks for what the key has when nothing was typed", () => {
    const { name, limits, ipWhitelist, ipLogin, expiresAt } = key;
    const read = readKey(textsOf(key, "Europe/Berlin"), "Europe/Berlin");
    expect(read).toEqual({ wanted: { name, limits, ipWhitelist, ipLogin, expiresAt }, problems: {} });
  });

  it("limits nothing where nothing is typed", () => {
    const { wanted, problems } = readKey({ name: " mine " }, "UTC");
    expect(problems).toEqual({});
    expect(wanted).toMatchObject({ name: "mine", expiresAt: null, limits: { bytesTotal: null, ports: [] } });
  });

  it("says of each field what can't be read", () => {
    const typed = { "limits.bytesPerDay": "lots", "limits.ports": "80, http", "limits.requestsPerSecond": "1.5" };
    expect(Object.keys(readKey(typed, "UTC").problems).sort()).toEqual([
      "limits.bytesPerDay",
      "limits.ports",
      "limits.requestsPerSecond",
      "name",
    ]);
    expect(readKey({ name: "a", "limits.ports": "70000" }, "UTC").problems).toHaveProperty(["limits.ports"]);
  });
});

it("tells limits in a few words", () => {
  const told = describeLimits(key.limits, (bytes) => `${bytes} bytes`);
  expect(told).toEqual([
    "20 requests/s",
    "8 connections",
    "500000000 bytes a day",
    "1 bytes in all",
    "US, DE",
    "only 2 destinations",
    "port 80, 443",
  ]);
  expect(describeLimits(NO_LIMITS, String)).toEqual([]);
});
