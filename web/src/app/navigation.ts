import type { LinkProps } from "@tanstack/react-router";
import { ChartColumn, CreditCard, KeyRound, LayoutDashboard, type LucideIcon, Settings } from "lucide-react";

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
  { name: "API keys", path: paths.apiKeys, icon: KeyRound },
  { name: "Usage", path: paths.usage, icon: ChartColumn },
  { name: "Billing", path: paths.billing, icon: CreditCard },
  { name: "Settings", path: paths.settings, icon: Settings },
];
