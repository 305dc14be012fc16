import { expect, it } from "vitest";

import { safeReturn } from "./paths";

it("leads back to pages of ours alone", () => {
  for (const ours of ["/usage?period=7d", "/api-keys", "/"]) expect(safeReturn(ours)).toBe(ours);
  for (const other of ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", undefined, "/\t/evil.example", "/\n/evil"]) {
    expect(safeReturn(other), String(other)).toBe("/dashboard");
  }
});
