/** What somebody typed into a field: its value, null for an empty field, or what is wrong with it. */
export type Parsed<T> = { value: T | null } | { problem: string };

/** Bytes of a number of GB (10^9 bytes), exactly; at most nine decimals. */
export function bytesOfGb(text: string): Parsed<number> {
  return scaled(text, 9, "Write a number of GB, such as 5 or 0.5");
}

/** Cents of a number of dollars, exactly. */
export function centsOfDollars(text: string): Parsed<number> {
  return scaled(text, 2, "Write an amount in dollars, such as 50 or 12.50");
}

/** A whole number that is not below zero. */
export function wholeNumber(text: string): Parsed<number> {
  return scaled(text, 0, "Write a whole number");
}

/** The GB that a field shows for bytes: what `bytesOfGb` reads back as the same bytes. */
export function gbText(bytes: number | null | undefined): string {
  return unscaled(bytes, 9);
}

/** The dollars that a field shows for cents. */
export function dollarsText(cents: number | null | undefined): string {
  return unscaled(cents, 2);
}

/** Entries that stand in a field with commas, spaces or line ends between them. */
export function entries(text: string): string[] {
  return text.split(/[\s,]+/).filter((entry) => entry !== "");
}

function scaled(text: string, digits: number, problem: string): Parsed<number> {
  const typed = text.trim();
  if (typed === "") return { value: null };
  const match = /^(\d{1,15})(?:[.,](\d+))?$/.exec(typed);
  const decimals = (match?.[2] ?? "").replace(/0+$/, "");
  if (!match || decimals.length > digits) return { problem };
  // By text: 0.1 + 0.2 is not what people mean by money and bytes.
  const value = Number(`${match[1]}${decimals.padEnd(digits, "0")}`);
  return Number.isSafeInteger(value) ? { value } : { problem: "That is too much" };
}

function unscaled(value: number | null | undefined, digits: number): string {
  if (value === null || value === undefined) return "";
  const text = value.toString().padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  const decimals = text.slice(text.length - digits).replace(/0+$/, "");
  return decimals === "" ? whole : `${whole}.${decimals}`;
}
