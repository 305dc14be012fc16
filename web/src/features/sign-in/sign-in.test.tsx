import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";

import type { components } from "@/api/schema";
import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";

const login: components["schemas"]["LoginAnswer"] = {
  token: "t",
  csrfToken: "proof",
  expiresAt: "2026-11-28T00:00:00Z",
  user: aSession().user,
};

let api: MockApi;
beforeEach(() => {
  api = new MockApi();
});

async function signIn() {
  await userEvent.type(await screen.findByLabelText("Email"), "ada@example.com");
  await userEvent.type(screen.getByLabelText("Password"), "correct horse");
  await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
}

describe("signing in", () => {
  it("leads to the page that was asked for", async () => {
    api.on("post", "/api/auth/login", 200, login).on("get", "/api/auth/profile", 200, aSession());
    const { router } = renderAt("/login?return=%2Fdashboard%3Fa%3D1");
    await signIn();
    await waitFor(() => expect(router.state.location.href).toBe("/dashboard?a=1"));
    expect(api.asked[0]?.body).toEqual({ email: "ada@example.com", password: "correct horse" });
  });

  it("never leads to another site", async () => {
    api.on("post", "/api/auth/login", 200, login).on("get", "/api/auth/profile", 200, aSession());
    const { router } = renderAt("/login?return=%2F%2Fevil.example");
    await signIn();
    await waitFor(() => expect(router.state.location.pathname).toBe("/dashboard"));
  });

  it("says in the API's words what is wrong, and when to try again", async () => {
    api.fail("post", "/api/auth/login", { status: 429, code: "too_many_requests", detail: "Too many tries", retryAfter: 240 });
    renderAt("/login");
    await signIn();
    expect((await screen.findByRole("alert")).textContent).toBe("Too many tries. Try again in 4 minutes.");
  });

  it("asks for what is missing before anything is sent", async () => {
    renderAt("/login");
    await userEvent.click(await screen.findByRole("button", { name: "Sign in" }));
    expect(screen.getByLabelText("Email").getAttribute("aria-invalid")).toBe("true");
    expect(screen.getByText("Enter your password")).toBeDefined();
    expect(document.activeElement).toBe(screen.getByLabelText("Email"));
    expect(api.asked).toEqual([]);
  });

  it("takes a code as second step, and a recovery code in its place", async () => {
    api
      .on("post", "/api/auth/login", 202, { twoFactorRequired: true, challenge: "c", expiresAt: "2026-11-28T00:00:00Z" })
      .fail("post", "/api/auth/login/two-factor", { status: 401, code: "code_invalid", detail: "The code is wrong, or was used already" });
    const { router } = renderAt("/login");
    await signIn();
    await userEvent.type(await screen.findByLabelText("Authentication code"), "123456{Enter}");
    expect((await screen.findByRole("alert")).textContent).toContain("The code is wrong");
    api.on("post", "/api/auth/login/two-factor", 200, login).on("get", "/api/auth/profile", 200, aSession());
    await userEvent.click(screen.getByRole("button", { name: "Use a recovery code" }));
    await userEvent.type(screen.getByLabelText("Recovery code"), "abcd-efgh{Enter}");
    await waitFor(() => expect(router.state.location.pathname).toBe("/dashboard"));
    expect(api.asked.find((asked) => JSON.stringify(asked.body).includes("abcd"))?.body).toEqual({ challenge: "c", code: "abcd-efgh" });
  });
});

describe("signing up", () => {
  it("shows what the API says of a field beside it", async () => {
    api.fail("post", "/api/auth/register", {
      status: 400,
      code: "invalid_fields",
      detail: "Too common",
      errors: [{ field: "password", message: "Too common" }],
    });
    renderAt("/login?view=sign-up");
    await userEvent.type(await screen.findByLabelText("First name"), "Ada");
    await userEvent.type(screen.getByLabelText("Last name"), "Byron");
    await userEvent.type(screen.getByLabelText("Email"), "ada@example.com");
    await userEvent.type(screen.getByLabelText("Password"), "password1");
    await userEvent.type(screen.getByLabelText("Confirm password"), "password1{Enter}");
    await screen.findByText("Too common");
    expect(screen.queryByRole("alert")).toBeNull();
    expect(document.activeElement).toBe(screen.getByLabelText("Password"));
    expect(api.asked[0]?.body).toMatchObject({ firstName: "Ada", company: null });
  });
});

describe("pages behind the sign-in", () => {
  it("send a stranger to sign in, with the way back", async () => {
    api.fail("get", "/api/auth/profile", { status: 401, code: "login_required", detail: "Sign in first" });
    const { router } = renderAt("/dashboard?period=7d");
    await screen.findByRole("heading", { name: "Sign in to IPLoop" });
    expect(router.state.location.search).toMatchObject({ return: "/dashboard?period=7d" });
  });

  it("have the proof for changes again after a reload", async () => {
    api
      .on("get", "/api/auth/profile", 200, aSession({ emailVerified: false }))
      .on("post", "/api/auth/resend-verification", 200, { message: "sent" });
    renderAt("/dashboard");
    await userEvent.click(await screen.findByRole("button", { name: "Send another mail" }));
    await screen.findByText(/Another mail is on its way to ada@example.com/);
    expect(api.asked.at(-1)?.headers.get("X-CSRF-Token")).toBe("proof");
  });
});
