import type { ReactNode } from "react";

interface NoticeProps {
  title: string;
  children: ReactNode;
}

/** The title of a card that has no tabs, and what follows. */
export function Notice({ title, children }: NoticeProps) {
  return (
    <>
      <h1 className="mb-4 text-center text-xl font-semibold tracking-tight">{title}</h1>
      <div className="space-y-4">{children}</div>
    </>
  );
}
