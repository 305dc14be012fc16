import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

// The router scrolls; there is nothing to scroll here.
vi.stubGlobal("scrollTo", vi.fn());

/** Stands in for the stream of live events: nothing happens in it. */
class SilentEventSource extends EventTarget {
  close(): void {}
}
vi.stubGlobal("EventSource", SilentEventSource);

afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});
