import createClient, { type Middleware } from "openapi-fetch";

import { ApiError } from "./problem";
import type { paths } from "./schema";

/** Proves that a request by cookie comes from our own page. In memory only: a reload reads it anew from the profile. */
let csrfToken: string | undefined;

/** Keeps the token that signing in and the profile answer; `undefined` after signing out. */
export function setCsrfToken(token: string | undefined): void {
  csrfToken = token;
}

const SAFE = new Set(["GET", "HEAD"]);

const around: Middleware = {
  onRequest({ request }) {
    if (csrfToken !== undefined && !SAFE.has(request.method)) request.headers.set("X-CSRF-Token", csrfToken);
    return request;
  },
  async onResponse({ response }) {
    if (!response.ok) throw await ApiError.from(response);
  },
  onError({ error }) {
    return error instanceof ApiError ? error : ApiError.unreachable(error);
  },
};

/** The API of the server that this page came from. Every call goes through {@link answer}. */
export const api = createClient<paths>({
  baseUrl: globalThis.location.origin,
  credentials: "same-origin",
  // Looked up at each call, so that tests can stand in for it.
  fetch: (request) => globalThis.fetch(request),
});
api.use(around);

/**
 * The answer of a call, or an {@link ApiError} thrown.
 *
 *     const { keys } = await answer(api.GET("/api/proxy/keys"));
 */
export async function answer<Data>(call: Promise<{ data?: Data; response: Response }>): Promise<Exclude<Data, string>> {
  const { data } = await call;
  // The middleware threw for everything that is not a success; a success without a body has no data to speak of. Where the API can
  // answer a text besides JSON (CSV), JSON was asked for.
  return data as Exclude<Data, string>;
}
