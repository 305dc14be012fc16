import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";

interface EmptyStateProps {
  icon: LucideIcon;
  title: string;
  /** What would be here, and how it comes. */
  children: ReactNode;
  action?: ReactNode;
}

/** There is nothing yet. */
export function EmptyState({ icon: Icon, title, children, action }: EmptyStateProps) {
  return (
    <div className="flex flex-col items-center px-6 py-12 text-center">
      <span className="mb-4 flex size-11 items-center justify-center rounded-full bg-raised text-soft">
        <Icon aria-hidden className="size-5" />
      </span>
      <p className="font-medium">{title}</p>
      <div className="mt-1 max-w-md text-sm text-soft">{children}</div>
      {action !== undefined && <div className="mt-5">{action}</div>}
    </div>
  );
}
