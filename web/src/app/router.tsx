import type { QueryClient } from "@tanstack/react-query";
import {
  type RouteComponent,
  type RouterHistory,
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";

import { ApiError } from "@/api/problem";
import { sessionQuery } from "@/api/session";
import { readSearch as readBillingSearch } from "@/features/billing/search";
import { readSearch as readUsageSearch } from "@/features/usage/search";
import { paths } from "@/lib/paths";
import { AccountLayout } from "./layouts/account-layout";
import { EntryLayout } from "./layouts/entry-layout";
import { ErrorPage, NotFoundPage } from "./layouts/failures";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
  notFoundComponent: NotFoundPage,
  errorComponent: ErrorPage,
});

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: paths.overview, replace: true });
  },
});

/** Around pages for whoever is signed in; others are sent to sign in, and come back after it. */
const account = createRoute({
  getParentRoute: () => root,
  id: "account",
  component: AccountLayout,
  beforeLoad: async ({ context, location }) => {
    try {
      await context.queries.ensureQueryData(sessionQuery);
    } catch (error) {
      if (!(error instanceof ApiError && error.isLoginOver)) throw error;
      throw redirect({ to: paths.login, search: location.href === paths.overview ? {} : { return: location.href } });
    }
  },
});

/** Around pages for everybody. */
const entry = createRoute({ getParentRoute: () => root, id: "entry", component: EntryLayout });

/** A page behind the sign-in. */
function page<Path extends string>(path: Path, component: RouteComponent) {
  return createRoute({ getParentRoute: () => account, path, component });
}

const accountPages = [
  page(
    paths.overview,
    lazyRouteComponent(() => import("@/features/overview/overview-page"), "OverviewPage"),
  ),
  page(
    paths.apiKeys,
    lazyRouteComponent(() => import("@/features/api-keys/api-keys-page"), "ApiKeysPage"),
  ),
  createRoute({
    getParentRoute: () => account,
    path: paths.usage,
    validateSearch: readUsageSearch,
    component: lazyRouteComponent(() => import("@/features/usage/usage-page"), "UsagePage"),
  }),
  page(
    paths.request,
    lazyRouteComponent(() => import("@/features/usage/receipt-page"), "ReceiptPage"),
  ),
  createRoute({
    getParentRoute: () => account,
    path: paths.billing,
    validateSearch: readBillingSearch,
    component: lazyRouteComponent(() => import("@/features/billing/billing-page"), "BillingPage"),
  }),
  page(
    paths.settings,
    lazyRouteComponent(() => import("@/features/settings/settings-page"), "SettingsPage"),
  ),
] as const;

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
const tokenOf = (search: Record<string, unknown>): { token?: string | undefined } => ({ token: text(search["token"]) });

const entryPages = [
  createRoute({
    getParentRoute: () => entry,
    path: paths.login,
    validateSearch: (search: Record<string, unknown>): { return?: string | undefined; view?: "sign-up" | undefined } => ({
      return: text(search["return"]),
      view: search["view"] === "sign-up" ? "sign-up" : undefined,
    }),
    component: lazyRouteComponent(() => import("@/features/sign-in/login-page"), "LoginPage"),
  }),
  createRoute({
    getParentRoute: () => entry,
    path: paths.forgotPassword,
    component: lazyRouteComponent(() => import("@/features/sign-in/forgot-password-page"), "ForgotPasswordPage"),
  }),
  createRoute({
    getParentRoute: () => entry,
    path: paths.resetPassword,
    validateSearch: tokenOf,
    component: lazyRouteComponent(() => import("@/features/sign-in/reset-password-page"), "ResetPasswordPage"),
  }),
  createRoute({
    getParentRoute: () => entry,
    path: paths.verifyEmail,
    validateSearch: tokenOf,
    component: lazyRouteComponent(() => import("@/features/sign-in/verify-email-page"), "VerifyEmailPage"),
  }),
] as const;

const tree = root.addChildren([home, account.addChildren(accountPages), entry.addChildren(entryPages)]);

/** The pages, under the address of the browser or of another history. */
export function createPages(queries: QueryClient, history?: RouterHistory) {
  return createRouter({
    ...(history && { history }),
    routeTree: tree,
    context: { queries },
    defaultPreload: "intent",
    scrollRestoration: true,
    // Plain text both ways: by default a token of digits would be read as a number.
    parseSearch: (search) => Object.fromEntries(new URLSearchParams(search)),
    stringifySearch: (search) => {
      const given = Object.entries(search).filter(([, value]) => value !== undefined);
      const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
      return query === "" ? "" : `?${query}`;
    },
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof createPages>;
  }
}
