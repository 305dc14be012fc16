import { useEffect, useState } from "react";

/** What happens now, as the event `numbers` of `/api/live` has it. */
export interface Numbers {
  /** None: not known yet. */
  balanceBytes: number | null;
  /** Requests and tunnels that run. */
  activeConnections: number;
  /** Requests that ended within the window. */
  requests: number;
  windowSeconds: number;
  bytesPerSecond: number;
}

/** The numbers of this moment; none until they come, and while the server can't be reached. */
export function useLiveNumbers(): Numbers | undefined {
  const [numbers, setNumbers] = useState<Numbers>();
  useEffect(() => {
    const source = new EventSource("/api/live?topics=numbers");
    source.addEventListener("numbers", (event: MessageEvent<string>) => setNumbers(JSON.parse(event.data) as Numbers));
    // The browser connects anew by itself.
    source.addEventListener("error", () => setNumbers(undefined));
    return () => source.close();
  }, []);
  return numbers;
}
