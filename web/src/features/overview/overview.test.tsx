import { screen, within } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";
import { daily, summary } from "@/testing/usage";

let api: MockApi;
beforeEach(() => {
  api = new MockApi()
    .on("get", "/api/auth/profile", 200, aSession())
    .on("get", "/api/proxy/keys", 200, { keys: [], maxKeys: 5 })
    .on("get", "/api/usage/daily", 200, daily(100))
    .on("get", "/api/nodes/stats", 200, {
      connectedNodes: 12,
      availableNodes: 11,
      busyNodes: 1,
      totalNodes: 40,
      averageQuality: 87,
      countryBreakdown: { US: 7, DE: 4, ZZ: 1 },
      connectionTypeBreakdown: {},
      deviceTypeBreakdown: {},
      totalBandwidthBytes: 0,
      totalBandwidthMb: 0,
      timestamp: "2026-11-27T10:00:00Z",
    })
    .on("get", "/api/proxy/endpoint", 200, {
      host: "127.0.0.1",
      httpPort: 7777,
      socks5Port: 1080,
      username: "me",
      examples: { curl: "", python: "", nodejs: "" },
      parameters: [],
      endpoints: [
        { name: "HTTP Proxy", protocol: "http", host: "127.0.0.1", port: 7777, description: "", connectionString: "http://me:API_KEY@127.0.0.1:7777" },
      ],
    });
});

describe("the overview", () => {
  it("leads through the first steps while nothing was sent", async () => {
    api.on("get", "/api/usage/summary", 200, summary(0, 0));
    renderAt("/dashboard");
    expect(await screen.findByText("First steps")).toBeTruthy();
    expect(await screen.findByText("curl -x http://me:API_KEY@127.0.0.1:7777 https://example.com/")).toBeTruthy();
    expect(screen.getByRole("link", { name: "Make your first key" }).getAttribute("href")).toMatch(/^\/api-keys/);
  });

  it("shows what is left, what was used and the network in aggregates", async () => {
    api.on("get", "/api/usage/summary", 200, summary(200, 100));
    renderAt("/dashboard");
    expect(await screen.findByRole("img", { name: "Requests by day: 200 in all" })).toBeTruthy();
    expect(screen.getByText("5 GB")).toBeTruthy();
    const countries = within(screen.getByRole("list", { name: "Devices by country" })).getAllByRole("listitem");
    expect(countries.map((item) => item.textContent)).toEqual(["United States7", "Germany4", "Unknown1"]);
    expect(screen.queryByText("First steps")).toBeNull();
  });

  it("says that it is loading, part by part", async () => {
    api.hang("get", "/api/usage/summary").hang("get", "/api/nodes/stats");
    renderAt("/dashboard");
    expect(await screen.findByText("Loading")).toBeTruthy();
    expect(await screen.findByText("No keys yet.")).toBeTruthy();
  });

  it("says which part can't be shown, and shows the rest", async () => {
    api.on("get", "/api/usage/summary", 200, summary(200, 100));
    api.fail("get", "/api/nodes/stats", { status: 500, code: "internal", detail: "Something went wrong on our side" });
    renderAt("/dashboard");
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong on our side");
    expect(await screen.findByRole("img", { name: "Requests by day: 200 in all" })).toBeTruthy();
  });

  it("follows the balance and the traffic as they happen", async () => {
    api.on("get", "/api/usage/summary", 200, summary(200, 100));
    const sources: EventTarget[] = [];
    vi.stubGlobal(
      "EventSource",
      class extends EventTarget {
        constructor() {
          super();
          sources.push(this);
        }
        close() {}
      },
    );
    renderAt("/dashboard");
    expect(await screen.findByText("Connecting …")).toBeTruthy();
    const data = JSON.stringify({ balanceBytes: 4_200_000_000, activeConnections: 3, requests: 12, windowSeconds: 60, bytesPerSecond: 1_500_000 });
    sources.at(-1)?.dispatchEvent(new MessageEvent("numbers", { data }));
    expect(await screen.findByText("3 connections")).toBeTruthy();
    expect(screen.getByText("1.5 MB/s")).toBeTruthy();
    expect(screen.getByText("4.2 GB")).toBeTruthy();
  });
});
