import type { LinkProps } from "@tanstack/react-router";
import { LayoutDashboard, type LucideIcon } from "lucide-react";

import { paths } from "@/lib/paths";

/** One entry of the sidebar. */
export interface NavigationItem {
  name: string;
  path: NonNullable<LinkProps["to"]>;
  icon: LucideIcon;
  /** Shown to admins only. */
  isAdminOnly?: boolean;
}

/** The sidebar, in its order: pages that exist, and no others. */
export const navigation: readonly NavigationItem[] = [
  { name: "Dashboard", path: paths.overview, icon: LayoutDashboard },
];
