import { Outlet } from "@tanstack/react-router";

import { Logo } from "@/components/logo";
import { paths } from "@/lib/paths";

/** Around the pages for everybody: one card in the middle. */
export function EntryLayout() {
  return (
    <div className="flex min-h-dvh flex-col items-center px-4 py-10 sm:justify-center">
      <div className="mb-8">
        <Logo />
      </div>
      <main className="w-full max-w-md rounded-2xl border border-line bg-surface p-6 shadow-card sm:p-8">
        <Outlet />
      </main>
      <footer className="mt-8 text-sm text-soft">
        <a href={paths.status} className="hover:text-ink hover:underline">
          System status
        </a>
      </footer>
    </div>
  );
}
