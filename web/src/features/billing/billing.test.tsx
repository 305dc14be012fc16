import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";
import type { Subscription, Transaction } from "./queries";
import { growth, payAsYouGo, starter, subscription } from "./samples";

const bonus: Transaction = {
  id: "t1",
  type: "bonus",
  description: "Welcome",
  bytes: 5_000_000_000,
  gbAmount: 5,
  amount: 0,
  amountMicros: 0,
  credits: 0,
  status: "completed",
  metadata: {},
  reference: null,
  stripePaymentId: null,
  createdAt: "2026-11-01T00:00:00Z",
};

let api: MockApi;
beforeEach(() => {
  api = new MockApi()
    .on("get", "/api/auth/profile", 200, aSession())
    .on("get", "/api/billing/transactions", 200, { transactions: [bonus], nextCursor: null })
    .on("get", "/api/billing/invoices", 200, { invoices: [], nextCursor: null });
});

function billing(isPayable: boolean, now: Partial<Subscription> = {}) {
  api.on("get", "/api/billing/plans", 200, { currency: "usd", isPayable, plans: [starter, growth, payAsYouGo] });
  api.on("get", "/api/billing/subscription", 200, subscription(now));
}

const sent = (method: string) => api.asked.filter((asked) => asked.method === method).map(({ path, body }) => [path, body]);

describe("billing", () => {
  it("says that it is loading", async () => {
    billing(true);
    api.hang("get", "/api/billing/subscription");
    renderAt("/billing");
    expect(await screen.findByText("Loading")).toBeTruthy();
  });

  it("says why it can't be shown", async () => {
    billing(true);
    api.fail("get", "/api/billing/plans", { status: 500, code: "internal", detail: "Something went wrong on our side" });
    renderAt("/billing");
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong on our side");
  });

  it("says plainly where the server takes no payments, and asks it for no invoices", async () => {
    billing(false);
    renderAt("/billing");
    expect((await screen.findAllByText(/This server takes no payments/)).length).toBeGreaterThan(0);
    const subscribe = screen.getByRole("button", { name: "Subscribe to Growth" });
    expect(subscribe).toHaveProperty("disabled", true);
    expect(subscribe.title).toBe("This server takes no payments");
    expect(screen.queryByText("Invoices")).toBeNull();
    expect(api.asked.some(({ path }) => path === "/api/billing/invoices")).toBe(false);
  });

  it("shows what is left, what came and went, and that there are no invoices", async () => {
    billing(true);
    renderAt("/billing");
    expect(await screen.findByText("4 GB left")).toBeTruthy();
    expect(screen.getByRole("img", { name: "1 GB of 5 GB used" })).toBeTruthy();
    const rows = await screen.findByRole("row", { name: /Bonus/ });
    expect(within(rows).getByText("+5 GB")).toBeTruthy();
    expect(await screen.findByText("No invoices yet")).toBeTruthy();
  });

  it("thanks who comes back from paying", async () => {
    billing(true);
    renderAt("/billing?paid=1");
    expect(await screen.findByText("Thank you")).toBeTruthy();
  });

  it("says why nothing can be bought while a payment is disputed", async () => {
    billing(true, { hold: { openDisputes: 1, owedBytes: 2_000_000_000 } });
    renderAt("/billing");
    const notice = await screen.findByText(/1 payment of yours is disputed/);
    expect(notice.textContent).toContain("2 GB were used and not paid for");
  });
});

describe("buying", () => {
  it("leads to the page for paying", async () => {
    billing(true);
    api.on("post", "/api/billing/checkout", 200, { url: "https://pay.example/1" });
    const assign = vi.spyOn(globalThis.location, "assign").mockImplementation(() => {});
    renderAt("/billing");
    await userEvent.click(await screen.findByRole("button", { name: "Subscribe to Growth" }));
    await vi.waitFor(() => expect(assign).toHaveBeenCalledWith("https://pay.example/1"));
    expect(sent("POST")).toEqual([["/api/billing/checkout", { planId: growth.id, interval: "month" }]]);
  });

  it("tells the price of a top-up before it is paid, and the API's refusal after", async () => {
    billing(true);
    const detail = "Beyond the month's cap, of which 500 cents are left";
    api.fail("post", "/api/billing/checkout", { status: 409, code: "spend_cap_reached", detail });
    renderAt("/billing");
    const gb = await screen.findByLabelText("GB");
    await userEvent.clear(gb);
    await userEvent.type(gb, "20");
    await userEvent.click(screen.getByRole("button", { name: "Pay $196.00" }));
    expect((await screen.findByRole("alert")).textContent).toContain(detail);
    expect(sent("POST")).toEqual([["/api/billing/checkout", { gb: 20 }]]);
  });

  it("asks before it changes a subscription, and tells what the API does not allow", async () => {
    billing(true, { status: "active", interval: "month", plan: starter, renewsAt: "2026-12-01T00:00:00Z" });
    const message = "The period that is paid must end first: cancel, and subscribe then";
    api.fail("post", "/api/billing/subscription/change", {
      status: 400,
      code: "invalid_fields",
      detail: message,
      errors: [{ field: "interval", message }],
    });
    renderAt("/billing");
    await userEvent.click(await screen.findByRole("button", { name: "Change to Growth" }));
    expect(sent("POST")).toEqual([]);
    const dialog = within(await screen.findByRole("dialog", { name: "Change to Growth?" }));
    await userEvent.click(dialog.getByRole("button", { name: "Change to Growth" }));
    expect((await screen.findByRole("alert")).textContent).toContain(message);
  });
});

describe("what may be spent", () => {
  it("is capped in dollars and sent in cents", async () => {
    billing(true);
    api.on("put", "/api/billing/spend-cap", 200, subscription().spending);
    renderAt("/billing");
    await userEvent.type(await screen.findByLabelText("Dollars a month"), "12.50");
    await userEvent.click(screen.getByRole("button", { name: "Save cap" }));
    expect(await screen.findByText("Saved")).toBeTruthy();
    expect(sent("PUT")).toEqual([["/api/billing/spend-cap", { monthlyCapCents: 1250 }]]);
  });

  it("has automatic top-ups, whose fields must be amounts", async () => {
    billing(true);
    api.on("put", "/api/billing/auto-top-up", 200, subscription().spending);
    renderAt("/billing");
    const below = await screen.findByLabelText("Below, in GB");
    await userEvent.clear(below);
    await userEvent.click(screen.getByRole("button", { name: "Switch on" }));
    expect(await screen.findByText("Is needed")).toBeTruthy();
    await userEvent.type(below, "0.5");
    await userEvent.click(screen.getByRole("button", { name: "Switch on" }));
    await screen.findByText("Saved");
    const auto = { thresholdBytes: 500_000_000, gb: 10, monthlyBoundCents: 10_000 };
    expect(sent("PUT")).toEqual([["/api/billing/auto-top-up", { autoTopUp: auto }]]);
  });
});
