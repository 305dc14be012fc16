import type { ReactNode } from "react";

import { classes } from "@/lib/classes";

interface CardProps {
  title?: string | undefined;
  description?: ReactNode;
  /** Stands beside the title. */
  action?: ReactNode;
  /** Content that reaches the edges, such as a table. */
  isFlush?: boolean;
  className?: string;
  children: ReactNode;
}

/** A part of a page. */
export function Card({ title, description, action, isFlush = false, className, children }: CardProps) {
  return (
    <section className={classes("min-w-0 rounded-xl border border-line bg-surface shadow-card", className)}>
      {title !== undefined && (
        <header className={classes("flex flex-wrap items-start justify-between gap-3 px-5 pt-4", isFlush && "pb-4")}>
          <div className="min-w-0 flex-1 basis-48">
            <h2 className="text-base font-semibold">{title}</h2>
            {description !== undefined && <p className="mt-0.5 text-sm text-soft">{description}</p>}
          </div>
          {action}
        </header>
      )}
      <div className={isFlush ? "" : "px-5 py-4"}>{children}</div>
    </section>
  );
}

/** A figure with its name. */
export function Figure({ label, value, note }: { label: string; value: ReactNode; note?: ReactNode }) {
  return (
    <div className="min-w-0 rounded-xl border border-line bg-surface px-5 py-4 shadow-card">
      <p className="text-sm text-soft">{label}</p>
      <p className="mt-1 text-2xl font-semibold tracking-tight wrap-anywhere tabular-nums">{value}</p>
      {note !== undefined && <p className="mt-1 text-sm text-soft">{note}</p>}
    </div>
  );
}
