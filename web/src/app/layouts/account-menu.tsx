import { LogOut } from "lucide-react";

import type { User } from "@/api/session";
import { ThemeChoice } from "@/components/theme-choice";
import { Button } from "@/components/ui/button";
import { Menu } from "@/components/ui/menu";
import { useSignOut } from "../sign-out";

/** Who is signed in, the theme, and the way out. */
export function AccountMenu({ user }: { user: User }) {
  const signOut = useSignOut();
  const initials = `${user.firstName.slice(0, 1)}${user.lastName.slice(0, 1)}` || user.email.slice(0, 1);
  return (
    <Menu
      label={`Account of ${user.email}`}
      button={
        <span
          aria-hidden
          className="flex size-9 items-center justify-center rounded-full bg-accent-soft text-sm font-semibold text-accent uppercase"
        >
          {initials}
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
