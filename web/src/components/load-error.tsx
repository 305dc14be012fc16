import { RotateCw } from "lucide-react";

import { Button } from "./ui/button";
import { ErrorAlert } from "./ui/form";

/** Something could not be loaded: why, and another try. */
export function LoadError({ error, onRetry }: { error: Error; onRetry: () => void }) {
  return (
    <div className="space-y-3">
      <ErrorAlert error={error} />
      <Button look="secondary" size="small" onClick={onRetry}>
        <RotateCw aria-hidden className="size-3.5" />
        Try again
      </Button>
    </div>
  );
}
