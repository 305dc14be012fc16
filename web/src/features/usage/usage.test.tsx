import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";

import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";
import { daily, inPeriod, summary, sums } from "@/testing/usage";
import type { RequestInfo } from "./requests-view";

const request: RequestInfo = {
  id: "0192f0c4-0000-7000-8000-00000000000a",
  apiKeyId: "0192f0c4-0000-7000-8000-000000000001",
  destination: "example.com:443",
  proxyType: "connect",
  statusCode: 200,
  success: true,
  errorMessage: null,
  targetCountry: "DE",
  targetCity: "Berlin",
  exitAsn: 64502,
  exitNetwork: "192.0.2.0/24",
  sessionId: null,
  attempts: 1,
  requestCount: 1,
  billable: true,
  bytesDownloaded: 123_456,
  bytesUploaded: 789,
  totalBytes: 124_245,
  billedBytes: 124_245,
  selectMs: 1,
  dialMs: 20,
  firstByteMs: 80,
  durationMs: 150,
  startedAt: "2026-11-27T09:30:00Z",
  endedAt: "2026-11-27T09:30:01Z",
};

let api: MockApi;
beforeEach(() => {
  api = new MockApi().on("get", "/api/auth/profile", 200, aSession());
  api.on("get", "/api/proxy/keys", 200, { keys: [], maxKeys: 5 });
});

function used(requests: RequestInfo[], nextCursor: string | null = null) {
  api
    .on("get", "/api/usage/summary", 200, summary(200, 100))
    .on("get", "/api/usage/daily", 200, daily(100))
    .on("get", "/api/usage/hourly", 200, { ...inPeriod, hours: [{ ...sums(200), hour: 9 }] })
    .on("get", "/api/usage/by-country", 200, { ...inPeriod, countries: [{ ...sums(150), country: "DE" }, { ...sums(50), country: null }] })
    .on("get", "/api/usage/by-destination", 200, { ...inPeriod, destinations: [{ ...sums(200), host: "example.com" }] })
    .on("get", "/api/usage/by-status", 200, {
      ...inPeriod,
      statuses: [{ ...sums(180), statusCode: 200, error: null }, { ...sums(20), statusCode: 503, error: "no_exit" }],
    })
    .on("get", "/api/usage/requests", 200, { requests, nextCursor });
}

describe("the usage of a period", () => {
  it("says that it is loading", async () => {
    api.hang("get", "/api/usage/summary");
    renderAt("/usage");
    expect(await screen.findByText("Loading")).toBeTruthy();
  });

  it("says why it can't be shown", async () => {
    api.fail("get", "/api/usage/summary", { status: 500, code: "internal", detail: "Something went wrong on our side" });
    renderAt("/usage");
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong on our side");
  });

  it("invents nothing where nothing was used", async () => {
    api.on("get", "/api/usage/summary", 200, summary(0, 0)).on("get", "/api/usage/requests", 200, { requests: [], nextCursor: null });
    renderAt("/usage");
    expect(await screen.findByText("Nothing used in this period")).toBeTruthy();
    expect(screen.queryByRole("img")).toBeNull();
  });

  it("is drawn over time with all its numbers in a table, and by country, destination and outcome", async () => {
    used([request]);
    renderAt("/usage");
    expect(await screen.findByRole("img", { name: "Requests by day: 200 in all" })).toBeTruthy();
    const table = within(screen.getByRole("table", { name: "Requests by day" }));
    expect(table.getByRole("row", { name: "Nov 27 90 10" })).toBeTruthy();
    const shares = (name: string) => within(screen.getByRole("list", { name })).getAllByRole("listitem").map((item) => item.textContent);
    expect(shares("Requests by exit country")).toEqual(["Germany150150 MB", "Unknown5050.1 MB"]);
    expect(shares("Requests by destination")).toEqual(["example.com200200 MB"]);
    expect(shares("Requests by outcome")).toEqual(["200180180 MB", "503 no_exit2020 MB"]);
    expect(screen.getAllByText("100 % more than before")).toHaveLength(2);
  });

  it("is another one at a press, which the address keeps", async () => {
    used([request]);
    const { router } = renderAt("/usage");
    await userEvent.click(await screen.findByRole("button", { name: "7 days" }));
    expect(router.state.location.href).toBe("/usage?days=7");
    expect(screen.getByRole("button", { name: "7 days" }).getAttribute("aria-pressed")).toBe("true");
  });
});

describe("the requests", () => {
  it("are searched by what the address says, and exported so", async () => {
    used([request]);
    renderAt("/usage?days=7&country=de&code=no_exit");
    const csv = await screen.findByRole("link", { name: "Export CSV" });
    expect(csv.getAttribute("href")).toContain("country=DE&code=no_exit");
    expect(screen.getByLabelText("Country")).toHaveProperty("value", "DE");
    expect(screen.getByLabelText("Outcome")).toHaveProperty("value", "no_exit");
  });

  it("are searched anew by the form, which the address keeps", async () => {
    used([request]);
    const { router } = renderAt("/usage");
    await userEvent.type(await screen.findByLabelText("Host"), "example.com");
    await userEvent.selectOptions(screen.getByLabelText("Outcome"), "no_exit");
    await userEvent.click(screen.getByRole("button", { name: "Search" }));
    expect(router.state.location.search).toMatchObject({ host: "example.com", code: "no_exit" });
    await userEvent.click(await screen.findByRole("button", { name: "Clear filters" }));
    expect(router.state.location.search).not.toHaveProperty("host");
  });

  it("come page by page", async () => {
    used([request], "0f.0f");
    renderAt("/usage");
    const more = await screen.findByRole("button", { name: "Show more" });
    used([{ ...request, id: "b", destination: "second.example:80" }]);
    await userEvent.click(more);
    expect(await screen.findByText("second.example:80")).toBeTruthy();
    expect(screen.getByText("example.com:443")).toBeTruthy();
  });

  it("say so where none fits", async () => {
    used([]);
    renderAt("/usage?host=other.example");
    expect(await screen.findByText("No request fits")).toBeTruthy();
  });
});

describe("a receipt", () => {
  it("says to the byte what a request moved", async () => {
    api.on("get", "/api/usage/requests/{requestId}", 200, request);
    renderAt(`/usage/requests/${request.id}`);
    expect(await screen.findByText("123,456 bytes")).toBeTruthy();
    expect(screen.getByText("789 bytes")).toBeTruthy();
    expect(screen.getByText("Berlin, Germany")).toBeTruthy();
  });

  it("says that a failure of ours cost nothing", async () => {
    const lost = { ...request, success: false, errorMessage: "exit_lost", statusCode: 502, billable: false, billedBytes: 0 };
    api.on("get", "/api/usage/requests/{requestId}", 200, lost);
    renderAt(`/usage/requests/${request.id}`);
    expect(await screen.findByText("The failure was ours: it cost nothing")).toBeTruthy();
    expect(screen.getByText("502 exit_lost")).toBeTruthy();
  });

  it("says that there is no such request", async () => {
    const detail = "There is no such request, or it is too old to be kept";
    api.fail("get", "/api/usage/requests/{requestId}", { status: 404, code: "request_not_found", detail });
    renderAt("/usage/requests/unknown");
    expect((await screen.findByRole("alert")).textContent).toContain(detail);
  });
});
