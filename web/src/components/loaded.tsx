import type { ReactNode } from "react";

import { LoadError } from "./load-error";
import { Card } from "./ui/card";
import { SkeletonLines } from "./ui/skeleton";

/** What came of a question so far: an answer, an error, or neither yet. What `useQuery` returns is one. */
export interface Asked<Answer> {
  data: Answer | undefined;
  error: Error | null;
  refetch: () => unknown;
}

interface LoadedProps<Answer> {
  of: Asked<Answer>;
  /** How much room the answer takes, in lines. */
  lines?: number | undefined;
  children: (answer: Answer) => ReactNode;
}

/** Draws an answer, and until it is there what stands in its place. An older answer stays when a newer one fails. */
export function Loaded<Answer>({ of, lines = 3, children }: LoadedProps<Answer>) {
  if (of.data !== undefined) return <>{children(of.data)}</>;
  if (of.error !== null) return <LoadError error={of.error} onRetry={() => void of.refetch()} />;
  return <SkeletonLines lines={lines} />;
}

/** The same where the answer brings cards of its own: until then there is one of this title. */
export function LoadedCards<Answer>({ title, of, lines, children }: LoadedProps<Answer> & { title?: string }) {
  if (of.data !== undefined) return <>{children(of.data)}</>;
  return (
    <Card title={title}>
      <Loaded of={of} lines={lines}>
        {children}
      </Loaded>
    </Card>
  );
}
