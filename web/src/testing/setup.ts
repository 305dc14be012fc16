import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

// The router scrolls; there is nothing to scroll here.
vi.stubGlobal("scrollTo", vi.fn());

afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});
