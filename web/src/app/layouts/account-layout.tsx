import { Outlet } from "@tanstack/react-router";
import { Menu as MenuIcon } from "lucide-react";
import { useState } from "react";

import { useSession } from "@/api/session";
import { Logo } from "@/components/logo";
import { Alert } from "@/components/ui/alert";
import { IconButton } from "@/components/ui/button";
import { AccountMenu } from "./account-menu";
import { Drawer } from "./drawer";
import { Sidebar } from "./sidebar";
import { VerifyNotice } from "./verify-notice";

/** Around the pages behind the sign-in: the sidebar, a drawer on small screens, and who is signed in. */
export function AccountLayout() {
  const { user, impersonatedBy } = useSession();
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  return (
    <div className="min-h-dvh lg:pl-60">
      <a
        href="#content"
        className="sr-only z-50 rounded-lg bg-accent px-4 py-2 text-on-accent focus:not-sr-only focus:fixed focus:top-3 focus:left-3"
      >
        Skip to the content
      </a>
      <aside className="fixed inset-y-0 left-0 hidden w-60 border-r border-line bg-surface lg:block">
        <Sidebar user={user} />
      </aside>
      {isDrawerOpen && (
        <Drawer onClose={() => setDrawerOpen(false)}>
          <Sidebar user={user} onGo={() => setDrawerOpen(false)} />
        </Drawer>
      )}
      <header className="sticky top-0 z-20 flex h-14 items-center gap-2 border-b border-line bg-surface px-4 sm:px-8">
        <div className="flex items-center gap-2 lg:hidden">
          <IconButton label="Open the menu" aria-haspopup="dialog" onClick={() => setDrawerOpen(true)} className="-ml-2">
            <MenuIcon aria-hidden className="size-5" />
          </IconButton>
          <Logo />
        </div>
        <div className="ml-auto">
          <AccountMenu user={user} />
        </div>
      </header>
      <main id="content" tabIndex={-1} className="space-y-6 px-4 py-6 outline-none sm:px-8 sm:py-8">
        {impersonatedBy !== null && impersonatedBy !== undefined && (
          <Alert kind="warning" title={`You look on as ${user.email}`}>
            Nothing can be changed. Signing out ends it.
          </Alert>
        )}
        {!user.emailVerified && <VerifyNotice email={user.email} />}
        <Outlet />
      </main>
    </div>
  );
}
