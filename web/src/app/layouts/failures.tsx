import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";

import { LoadError } from "@/components/load-error";
import { Logo } from "@/components/logo";
import { useDocumentTitle } from "@/components/page";
import { buttonClasses } from "@/components/ui/button";
import { paths } from "@/lib/paths";

/** For an address without a page. */
export function NotFoundPage() {
  useDocumentTitle("Not found");
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col items-center justify-center gap-4 px-6 text-center">
      <Logo />
      <h1 className="text-2xl font-semibold tracking-tight">There is no such page</h1>
      <p className="text-soft">The address may be mistyped, or the page has moved.</p>
      <Link to={paths.overview} className={buttonClasses()}>
        Go to the dashboard
      </Link>
    </main>
  );
}

/** For a page that could not be loaded or drawn. */
export function ErrorPage({ error }: ErrorComponentProps) {
  useDocumentTitle("Error");
  const router = useRouter();
  return (
    <main className="mx-auto flex min-h-[60dvh] max-w-md flex-col justify-center gap-4 px-6">
      <h1 className="text-2xl font-semibold tracking-tight">This page can’t be shown</h1>
      <LoadError error={error instanceof Error ? error : new Error("unknown")} onRetry={() => void router.invalidate()} />
    </main>
  );
}
