import type { Offer, Subscription } from "./queries";

// What tests of this feature show.

export const starter = offer({ name: "Starter", priceMonthly: 4900, includedGb: 5, pricePerGbMicros: 9_800_000 });
export const growth = offer({ name: "Growth", priceMonthly: 14900, priceAnnual: 149000, includedGb: 25, pricePerGbMicros: 5_960_000 });
export const payAsYouGo = offer({ name: "Pay-as-you-go", priceMonthly: 0, includedGb: null, pricePerGbMicros: 5_000_000 });

export function subscription(differs: Partial<Subscription> = {}): Subscription {
  return {
    balanceBytes: 4_000_000_000,
    balanceGb: 4,
    usedBytes: 1_000_000_000,
    plan: starter,
    status: "none",
    spending: { failures: 0, isSwitchedOff: false, monthlyCapCents: null, spentCents: 0, autoTopUp: null },
    ...differs,
  };
}

function offer(differs: Pick<Offer, "name" | "priceMonthly" | "includedGb" | "pricePerGbMicros"> & Partial<Offer>): Offer {
  const { includedGb } = differs;
  return {
    id: `0192f0c4-0000-7000-8000-${differs.name.length.toString().padStart(12, "0")}`,
    description: "",
    features: [],
    asnTargeting: false,
    cityTargeting: true,
    stickySessions: true,
    includedBytes: includedGb == null ? null : includedGb * 1e9,
    maxConcurrentConnections: 50,
    requestsPerDay: 50_000,
    priceMonthlyCents: differs.priceMonthly,
    pricePerGb: String(differs.pricePerGbMicros / 1e6),
    ...differs,
  };
}
