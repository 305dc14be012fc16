import { CircleAlert, CircleCheck, Info, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";

import { classes } from "@/lib/classes";

const KINDS = {
  info: { icon: Info, look: "bg-accent-soft", tint: "text-accent" },
  good: { icon: CircleCheck, look: "bg-good-soft", tint: "text-good" },
  warning: { icon: TriangleAlert, look: "bg-warning-soft", tint: "text-warning" },
  danger: { icon: CircleAlert, look: "bg-danger-soft", tint: "text-danger" },
};

interface AlertProps {
  kind?: keyof typeof KINDS;
  title?: string;
  children: ReactNode;
  /** What can be done about it, at the end of the line. */
  action?: ReactNode;
}

/** A sentence that must be seen. A danger is read out at once, the rest when there is time. */
export function Alert({ kind = "info", title, children, action }: AlertProps) {
  const { icon: Icon, look, tint } = KINDS[kind];
  return (
    <div
      role={kind === "danger" ? "alert" : "status"}
      className={classes("flex flex-wrap items-start gap-x-3 gap-y-2 rounded-lg px-4 py-3 text-sm", look)}
    >
      <Icon aria-hidden className={classes("mt-0.5 size-4 shrink-0", tint)} />
      <div className="min-w-0 flex-1 basis-48 wrap-anywhere">
        {title !== undefined && <p className="font-semibold">{title}</p>}
        {children}
      </div>
      {action}
    </div>
  );
}
