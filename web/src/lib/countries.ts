const names = new Intl.DisplayNames("en", { type: "region", fallback: "code" });

/** A country's English name; `ZZ` and none are places that are not known, and what is no country stays as it is. */
export function countryName(code: string | null | undefined): string {
  if (!code || code === "ZZ") return "Unknown";
  return /^[A-Z]{2}$/.test(code) ? (names.of(code) ?? code) : code;
}
