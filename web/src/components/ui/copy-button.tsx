import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";

import { Button } from "./button";

const SHOWN_MS = 2000;

/** Copies a text and says that it did. Where the browser refuses, the text can still be selected. */
export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [outcome, setOutcome] = useState<"copied" | "refused">();
  useEffect(() => {
    if (outcome === undefined) return;
    const timer = setTimeout(() => setOutcome(undefined), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [outcome]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setOutcome("copied");
    } catch {
      setOutcome("refused");
    }
  };
  const Icon = outcome === "copied" ? Check : Copy;
  return (
    <Button look="secondary" size="small" onClick={() => void copy()}>
      <Icon aria-hidden className="size-3.5" />
      <span aria-live="polite">{outcome === "copied" ? "Copied" : outcome === "refused" ? "Select it by hand" : label}</span>
    </Button>
  );
}
