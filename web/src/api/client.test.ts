import { beforeEach, expect, it, vi } from "vitest";

import { MockApi } from "@/testing/api";
import { answer, api, setCsrfToken } from "./client";
import { ApiError } from "./problem";

let mock: MockApi;
beforeEach(() => {
  mock = new MockApi();
  setCsrfToken(undefined);
});

async function failure(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ApiError)) throw new Error(`no error of the API: ${String(error)}`);
  return error;
}

it("sends the proof with changes, and with nothing else", async () => {
  mock.on("get", "/api/proxy/keys", 200, { keys: [], maxKeys: 10 }).on("post", "/api/auth/logout", 204, undefined);
  setCsrfToken("proof");
  await answer(api.GET("/api/proxy/keys"));
  await answer(api.POST("/api/auth/logout"));
  expect(mock.asked.map(({ headers }) => headers.get("X-CSRF-Token"))).toEqual([null, "proof"]);
});

it("throws a problem document with its code, fields and wait", async () => {
  mock.fail("post", "/api/auth/logout", {
    status: 429,
    code: "too_many_requests",
    detail: "Too many tries",
    errors: [{ field: "email", message: "too long" }],
    retryAfter: 7,
  });
  const error = await failure(answer(api.POST("/api/auth/logout")));
  expect(error).toMatchObject({ status: 429, code: "too_many_requests", message: "Too many tries", retryAfter: 7, fields: { email: "too long" } });
  expect(error.isLoginOver).toBe(false);
});

it("tells an ended login from a wrong password", async () => {
  mock.fail("post", "/api/auth/logout", { status: 401, code: "token_expired", detail: "The login has expired" });
  expect((await failure(answer(api.POST("/api/auth/logout")))).isLoginOver).toBe(true);
  mock.fail("post", "/api/auth/logout", { status: 401, code: "invalid_credentials", detail: "Invalid email or password" });
  expect((await failure(answer(api.POST("/api/auth/logout")))).isLoginOver).toBe(false);
});

it("has words for answers that are not the API's, and for none", async () => {
  vi.stubGlobal("fetch", () => Promise.resolve(new Response("<h1>Bad gateway</h1>", { status: 502, headers: { "Content-Type": "text/html" } })));
  expect(await failure(answer(api.GET("/api/platform")))).toMatchObject({ status: 502, code: "unknown" });
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
  expect(await failure(answer(api.GET("/api/platform")))).toMatchObject({ status: 0, code: "unreachable" });
});
