import { Link } from "@tanstack/react-router";
import { LogOut } from "lucide-react";

import type { User } from "@/api/session";
import { Logo } from "@/components/logo";
import { IconButton } from "@/components/ui/button";
import { navigation } from "../navigation";
import { useSignOut } from "../sign-out";

/** The pages, and who is signed in. `onGo` is called when somebody goes to one. */
export function Sidebar({ user, onGo }: { user: User; onGo?: () => void }) {
  const signOut = useSignOut();
  const items = navigation.filter((item) => item.isAdminOnly !== true || user.role === "admin");
  return (
    <div className="flex h-full flex-col">
      <div className="flex h-14 shrink-0 items-center px-5">
        <Logo />
      </div>
      <nav aria-label="Pages" className="flex-1 overflow-y-auto px-3 py-3">
        <ul className="space-y-1">
          {items.map(({ name, path, icon: Icon }) => (
            <li key={path}>
              <Link
                to={path}
                onClick={onGo}
                className="flex items-center gap-3 rounded-lg px-3 py-2 text-sm font-medium transition-colors"
                activeProps={{ className: "bg-accent-soft text-accent" }}
                inactiveProps={{ className: "text-soft hover:bg-raised hover:text-ink" }}
              >
                <Icon aria-hidden className="size-4.5 shrink-0" />
                {name}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      <div className="flex items-center gap-2 border-t border-line p-4">
        <div className="min-w-0 flex-1">
          <p className="truncate text-sm font-medium">
            {user.firstName} {user.lastName}
          </p>
          <p className="truncate text-xs text-soft" title={user.email}>
            {user.email}
          </p>
        </div>
        <IconButton label="Sign out" disabled={signOut.isPending} onClick={() => signOut.mutate()}>
          <LogOut aria-hidden className="size-4" />
        </IconButton>
      </div>
    </div>
  );
}
