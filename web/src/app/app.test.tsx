import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";
import { navigation } from "./navigation";

let api: MockApi;
beforeEach(() => {
  api = new MockApi().on("get", "/api/auth/profile", 200, aSession());
});

describe("the shell", () => {
  it("says who is signed in, and marks the page that is open", async () => {
    renderAt("/dashboard");
    const pages = await screen.findByRole("navigation", { name: "Pages" });
    expect(within(pages).getByRole("link", { current: "page" }).textContent).toBe("Dashboard");
    expect(screen.getByText("ada@example.com")).toBeDefined();
  });

  it("has a page for each of its entries", () => {
    const { router } = renderAt("/dashboard");
    const known = new Set(Object.keys(router.routesByPath));
    expect(navigation.map(({ path }) => path).filter((path) => !known.has(String(path)))).toEqual([]);
  });

  it("keeps the chosen theme in this browser", async () => {
    renderAt("/dashboard");
    await userEvent.click(await screen.findByRole("button", { name: "Account of ada@example.com" }));
    await userEvent.click(screen.getByRole("radio", { name: "Dark" }));
    expect(document.documentElement.dataset["theme"]).toBe("dark");
    expect(localStorage.getItem("iploop.theme")).toBe("dark");
    await userEvent.click(screen.getByRole("radio", { name: "System" }));
    expect(document.documentElement.dataset["theme"]).toBeUndefined();
    expect(localStorage.getItem("iploop.theme")).toBeNull();
  });

  it("leaves by a full load after signing out", async () => {
    api.on("post", "/api/auth/logout", 204, undefined);
    const assign = vi.spyOn(globalThis.location, "assign").mockImplementation(() => undefined);
    renderAt("/dashboard");
    await userEvent.click(await screen.findByRole("button", { name: "Sign out" }));
    await waitFor(() => expect(assign).toHaveBeenCalledWith("/login"));
    expect(api.asked.at(-1)?.headers.get("X-CSRF-Token")).toBe("proof");
  });

  it("says whom an admin looks on as", async () => {
    api.on("get", "/api/auth/profile", 200, { ...aSession(), impersonatedBy: "01900000-0000-7000-8000-000000000009" });
    renderAt("/dashboard");
    await screen.findByText("You look on as ada@example.com");
  });
});

describe("what can't be shown", () => {
  it("is no page", async () => {
    renderAt("/nothing");
    await screen.findByRole("heading", { name: "There is no such page" });
  });

  it("says why, and tries again", async () => {
    // React tells the log of what its boundary catches.
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
    api.fail("get", "/api/auth/profile", { status: 500, code: "internal", detail: "Something went wrong on our side" });
    renderAt("/dashboard");
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong on our side");
    api.on("get", "/api/auth/profile", 200, aSession());
    await userEvent.click(screen.getByRole("button", { name: "Try again" }));
    await screen.findByRole("heading", { name: "Dashboard" });
  });

  it("tells that the login ended", async () => {
    const { onLoginOver } = renderAt("/dashboard");
    await screen.findByRole("heading", { name: "Dashboard" });
    api.fail("post", "/api/auth/logout", { status: 401, code: "token_revoked", detail: "The login has ended" });
    await userEvent.click(screen.getByRole("button", { name: "Sign out" }));
    await waitFor(() => expect(onLoginOver).toHaveBeenCalled());
  });
});
