import type { ReactNode } from "react";

import { classes } from "@/lib/classes";

const KINDS = {
  plain: "bg-raised text-soft",
  accent: "bg-accent-soft text-accent",
  good: "bg-good-soft text-good",
  warning: "bg-warning-soft text-warning",
  danger: "bg-danger-soft text-danger",
};

/** A state in a word. */
export function Badge({ kind = "plain", children }: { kind?: keyof typeof KINDS; children: ReactNode }) {
  return (
    <span className={classes("inline-flex items-center rounded-full px-2 py-0.5 text-xs font-medium whitespace-nowrap", KINDS[kind])}>
      {children}
    </span>
  );
}
