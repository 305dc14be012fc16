import { LogOut, UserRound } from "lucide-react";

import type { User } from "@/api/session";
import { ThemeChoice } from "@/components/theme-choice";
import { Button } from "@/components/ui/button";
import { Menu } from "@/components/ui/menu";
import { useSignOut } from "../sign-out";

/** Who is signed in, the theme, and the way out. */
export function AccountMenu({ user }: { user: User }) {
  const signOut = useSignOut();
  return (
    <Menu
      label={`Account of ${user.email}`}
      button={
        <span className="flex size-9 items-center justify-center rounded-full bg-accent-soft text-accent">
          <UserRound aria-hidden className="size-5" />
        </span>
      }
    >
      <div className="px-2 pt-1 pb-3">
        <p className="truncate text-sm font-medium">
          {user.firstName} {user.lastName}
        </p>
        <p className="truncate text-sm text-soft" title={user.email}>
          {user.email}
        </p>
      </div>
      <ThemeChoice />
      <Button
        look="quiet"
        isBusy={signOut.isPending}
        onClick={() => signOut.mutate()}
        className="mt-2 w-full justify-start px-2"
      >
        {!signOut.isPending && <LogOut aria-hidden className="size-4" />}
        Sign out
      </Button>
    </Menu>
  );
}
