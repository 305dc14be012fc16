/** What the page can be linked to with: the payment provider leads back with `paid=1`. */
export function readSearch(search: Record<string, unknown>): { paid?: 1 } {
  return Number(search["paid"]) === 1 ? { paid: 1 } : {};
}
