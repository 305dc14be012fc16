import type { Interval, Offer, Subscription } from "./queries";

/** Whether a subscription stands that is changed, instead of begun anew. */
export function isSubscribed({ status }: Subscription): boolean {
  return status === "active" || status === "past_due";
}

/** What a plan costs for an interval, in cents; none: it is not sold so. */
export function price(offer: Offer, interval: Interval): number | undefined {
  const cents = interval === "year" ? offer.priceAnnual : offer.priceMonthly;
  return cents == null || cents === 0 ? undefined : cents;
}

/** Whether the account has subscribed to exactly this. */
export function isCurrent(offer: Offer, interval: Interval, subscription: Subscription): boolean {
  return isSubscribed(subscription) && subscription.plan.id === offer.id && subscription.interval === interval;
}

/** Why nothing can be bought at the moment; none: it can. */
export function whyNotBuy(isPayable: boolean, subscription: Subscription): string | undefined {
  if (!isPayable) return "This server takes no payments";
  if (subscription.hold) return "A disputed payment must be settled first";
  return undefined;
}

/** Why a plan can't be chosen; none: it can. */
export function whyNotChoose(offer: Offer, interval: Interval, subscription: Subscription, isPayable: boolean): string | undefined {
  const why = whyNotBuy(isPayable, subscription);
  if (why !== undefined) return why;
  if (offer.includedBytes == null) return "Pay as you go: top up instead";
  if (price(offer, interval) === undefined) return interval === "year" ? "Not sold by the year" : "Not sold by the month";
  if (isCurrent(offer, interval, subscription)) return "This is your plan";
  return undefined;
}

/** Cents that so many GB cost at a plan's price; none: no number was typed. */
export function topUpCents(gb: string, pricePerGbMicros: number): number | undefined {
  const amount = Number(gb);
  return /^\d{1,6}$/.test(gb.trim()) && amount > 0 ? Math.ceil((amount * pricePerGbMicros) / 10_000) : undefined;
}
