/** Every page's path, once: routes, links and redirects are made from these. */
export const paths = {
  login: "/login",
  forgotPassword: "/forgot-password",
  resetPassword: "/reset-password",
  verifyEmail: "/verify-email",

  overview: "/dashboard",
  apiKeys: "/api-keys",
  usage: "/usage",
  /** The receipt of one request. */
  request: "/usage/requests/$requestId",
  billing: "/billing",
  settings: "/settings",

  /** Drawn by the server, without script: a link to it leaves the dashboard. */
  status: "/status",
} as const;

/** A path of ours to go back to after signing in; anything else becomes the overview. */
export function safeReturn(path: unknown): string {
  if (typeof path !== "string" || !/^\/(?![/\\])/.test(path)) return paths.overview;
  // A browser drops control characters before it reads an address.
  return [...path].some((character) => character <= " ") ? paths.overview : path;
}
