import { describe, expect, it } from "vitest";

import { topUpCents, whyNotChoose } from "./rules";
import { growth, payAsYouGo, starter, subscription } from "./samples";

describe("a plan", () => {
  it("can be subscribed to by whoever has no subscription, also the plan that registering gives", () => {
    expect(whyNotChoose(starter, "month", subscription({ status: "none" }), true)).toBeUndefined();
    expect(whyNotChoose(growth, "month", subscription({ status: "cancelled" }), true)).toBeUndefined();
  });

  it("can't be chosen twice, but for another interval", () => {
    const subscribed = subscription({ status: "active", interval: "month", plan: growth });
    expect(whyNotChoose(growth, "month", subscribed, true)).toBe("This is your plan");
    expect(whyNotChoose(growth, "year", subscribed, true)).toBeUndefined();
  });

  it("says why it can't be chosen", () => {
    const none = subscription({ status: "none" });
    const held = subscription({ status: "none", hold: { openDisputes: 1, owedBytes: 0 } });
    expect(whyNotChoose(growth, "month", none, false)).toBe("This server takes no payments");
    expect(whyNotChoose(growth, "month", held, true)).toBe("A disputed payment must be settled first");
    expect(whyNotChoose(payAsYouGo, "month", none, true)).toBe("Pay as you go: top up instead");
    expect(whyNotChoose(starter, "year", none, true)).toBe("Not sold by the year");
  });
});

it("tells what a top-up costs, rounded up to a cent", () => {
  expect(topUpCents("10", 5_000_000)).toBe(5000);
  expect(topUpCents("3", 3_333_333)).toBe(1000);
  for (const typed of ["", "0", "-1", "1.5", "ten"]) expect(topUpCents(typed, 5_000_000)).toBeUndefined();
});
