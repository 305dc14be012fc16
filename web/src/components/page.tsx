import { type ReactNode, useEffect } from "react";

interface PageProps {
  title: string;
  description?: ReactNode;
  /** Stands beside the title. */
  action?: ReactNode;
  children: ReactNode;
}

/** A page of the dashboard: its title, here and in the browser's tab, and its parts one below the other. */
export function Page({ title, description, action, children }: PageProps) {
  useDocumentTitle(title);
  return (
    <div className="mx-auto max-w-6xl space-y-6">
      <header className="flex flex-wrap items-start justify-between gap-x-6 gap-y-3">
        <div className="min-w-0">
          <h1 className="text-2xl font-semibold tracking-tight">{title}</h1>
          {description !== undefined && <p className="mt-1 text-sm text-soft">{description}</p>}
        </div>
        {action}
      </header>
      {children}
    </div>
  );
}

/** Names the browser's tab. */
export function useDocumentTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · IPLoop`;
  }, [title]);
}
