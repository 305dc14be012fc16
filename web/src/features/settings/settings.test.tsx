import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";
import { program } from "./logins";
import type { Login, Notifications, Security } from "./queries";

const security: Security = { twoFactorEnabled: false, recoveryCodesLeft: null, sessionTimeoutMinutes: null, ipAllowList: [] };
const here: Login = {
  id: "here",
  isCurrent: true,
  ipAddress: "192.0.2.1",
  userAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  createdAt: "2026-11-27T08:00:00Z",
  lastSeenAt: "2026-11-27T09:00:00Z",
  expiresAt: "2026-11-28T08:00:00Z",
};
const preferences: Notifications = {
  emailAlerts: true,
  usageAlerts: true,
  rateLimitAlerts: true,
  billingAlerts: true,
  securityAlerts: true,
  maintenanceAlerts: false,
  weeklyReports: true,
  monthlyReports: true,
  usageThresholdPercent: 50,
  balanceLowBytes: 500_000_000,
};

let api: MockApi;
beforeEach(() => {
  api = new MockApi()
    .on("get", "/api/auth/profile", 200, aSession())
    .on("get", "/api/auth/security", 200, security)
    .on("get", "/api/auth/sessions", 200, { sessions: [here] })
    .on("get", "/api/auth/notifications", 200, preferences);
});

const open = () => renderAt("/settings");
const press = async (name: string) => userEvent.click(await screen.findByRole("button", { name }));
const sent = (method: string) => api.asked.filter((asked) => asked.method === method).map(({ path, body }) => [path, body]);

describe("settings", () => {
  it("say that they are loading", async () => {
    api.hang("get", "/api/auth/security").hang("get", "/api/auth/notifications");
    open();
    expect(await screen.findByRole("list", { name: "Logins" })).toBeTruthy();
    expect(screen.getAllByText("Loading")).toHaveLength(2);
  });

  it("say which part can't be shown", async () => {
    api.fail("get", "/api/auth/sessions", { status: 500, code: "internal", detail: "Something went wrong on our side" });
    open();
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong on our side");
    expect(await screen.findByLabelText("First name")).toBeTruthy();
  });

  it("change the profile, with the API's complaint beside its field", async () => {
    const message = "Phone must be an international number";
    api.fail("patch", "/api/auth/profile", { status: 400, code: "invalid_fields", detail: message, errors: [{ field: "phone", message }] });
    open();
    await userEvent.type(await screen.findByLabelText("Phone"), "call me");
    await userEvent.selectOptions(screen.getByLabelText("Time zone"), "Europe/Berlin");
    await press("Save profile");
    expect(await screen.findByText(message)).toBeTruthy();
    expect(sent("PATCH")[0]?.[1]).toMatchObject({ phone: "call me", timeZone: "Europe/Berlin", firstName: "Ada" });
  });

  it("set another password only if it was typed twice", async () => {
    api.on("put", "/api/auth/password", 200, { csrfToken: "other", expiresAt: "2026-11-28T00:00:00Z", token: "t", user: aSession().user });
    open();
    await userEvent.type(await screen.findByLabelText("Current password"), "old secret");
    await userEvent.type(screen.getByLabelText("New password"), "new secret 1");
    const again = screen.getByLabelText("Confirm new password");
    await userEvent.type(again, "new secret 2");
    await press("Change password");
    expect(await screen.findByText("The passwords differ")).toBeTruthy();
    await userEvent.clear(again);
    await userEvent.type(again, "new secret 1");
    await press("Change password");
    expect(await screen.findByText("Saved")).toBeTruthy();
    expect(sent("PUT")).toEqual([["/api/auth/password", { currentPassword: "old secret", newPassword: "new secret 1" }]]);
    expect(screen.getByLabelText("New password")).toHaveProperty("value", "");
  });

  it("change what is told by mail", async () => {
    api.on("put", "/api/auth/notifications", 200, { ...preferences, weeklyReports: false });
    open();
    await userEvent.click(await screen.findByLabelText("Weekly report"));
    await press("Save notifications");
    expect(await screen.findByText("Saved")).toBeTruthy();
    expect(sent("PUT")).toEqual([["/api/auth/notifications", { ...preferences, weeklyReports: false }]]);
  });

  it("keep who would lock himself out from doing so", async () => {
    const message = "The list must contain 192.0.2.1, your address: you would lock yourself out";
    api.fail("patch", "/api/auth/security", { status: 400, code: "invalid_fields", detail: message, errors: [{ field: "ipAllowList", message }] });
    open();
    await userEvent.type(await screen.findByLabelText("Sign in only from"), "198.51.100.0/24");
    await userEvent.selectOptions(screen.getByLabelText("Sign out when idle"), "30");
    await press("Save sign-in settings");
    expect(await screen.findByText(message)).toBeTruthy();
    expect(sent("PATCH")).toEqual([["/api/auth/security", { sessionTimeoutMinutes: 30, ipAllowList: ["198.51.100.0/24"] }]]);
  });
});

describe("two-factor authentication", () => {
  it("is set up by password and first code, and shows the recovery codes once", async () => {
    const qrSvg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect fill="#fff"/><path fill="#000" d="M1 1h1v1H1V1"/></svg>';
    api.on("post", "/api/auth/two-factor/setup", 200, { secret: "JBSWY3DPEHPK3PXP", otpauthUrl: "otpauth://totp/x", qrSvg });
    api.on("post", "/api/auth/two-factor/confirm", 200, { recoveryCodes: ["aaaa-bbbb", "cccc-dddd"] });
    open();
    await press("Set up");
    await userEvent.type(await screen.findByLabelText("Your password"), "secret");
    await press("Go on");
    expect(await screen.findByText("JBSWY3DPEHPK3PXP")).toBeTruthy();
    expect(screen.getByRole("img", { name: "QR code of the secret" }).querySelector("path")?.getAttribute("d")).toBe("M1 1h1v1H1V1");
    await userEvent.type(screen.getByLabelText("Code"), "123456");
    await press("Turn on");
    const codes = within(await screen.findByRole("list", { name: "Recovery codes" }));
    expect(codes.getAllByRole("listitem").map((code) => code.textContent)).toEqual(["aaaa-bbbb", "cccc-dddd"]);
    await press("I saved them");
    expect(screen.queryByText("aaaa-bbbb")).toBeNull();
    expect(sent("POST").map(([, body]) => body)).toEqual([{ password: "secret" }, { code: "123456" }]);
  });

  it("is turned off by password and code", async () => {
    api.on("get", "/api/auth/security", 200, { ...security, twoFactorEnabled: true, recoveryCodesLeft: 9 });
    api.on("post", "/api/auth/two-factor/disable", 204, undefined);
    open();
    expect(await screen.findByText(/9 recovery codes left/)).toBeTruthy();
    await press("Turn off");
    const dialog = within(await screen.findByRole("dialog", { name: "Turn off two-factor authentication?" }));
    await userEvent.type(dialog.getByLabelText("Your password"), "secret");
    await userEvent.type(dialog.getByLabelText("Code"), "123456");
    await userEvent.click(dialog.getByRole("button", { name: "Turn off" }));
    await vi.waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(sent("POST")).toEqual([["/api/auth/two-factor/disable", { password: "secret", code: "123456" }]]);
  });
});

describe("logins", () => {
  it("are ended but for this one", async () => {
    const there: Login = { ...here, id: "there", isCurrent: false, ipAddress: "198.51.100.9", userAgent: "curl/8.5.0" };
    api.on("get", "/api/auth/sessions", 200, { sessions: [here, there] }).on("delete", "/api/auth/sessions/{sessionId}", 204, undefined);
    open();
    const list = within(await screen.findByRole("list", { name: "Logins" }));
    expect(list.getByText("This one")).toBeTruthy();
    await userEvent.click(list.getByRole("button", { name: /End the login from 198.51.100.9/ }));
    expect(sent("DELETE")).toEqual([["/api/auth/sessions/there", undefined]]);
  });

  it("are named by what their programs call themselves", () => {
    expect(program(here.userAgent)).toBe("Firefox on Linux");
    expect(program("curl/8.5.0")).toBe("curl/8.5.0");
    expect(program("")).toBe("A program without a name");
  });
});

describe("leaving", () => {
  it("takes password and address, and ends at the sign-in", async () => {
    api.on("delete", "/api/auth/account", 204, undefined);
    const assign = vi.spyOn(globalThis.location, "assign").mockImplementation(() => {});
    open();
    expect((await screen.findByRole("link", { name: "Export my data" })).getAttribute("href")).toBe("/api/auth/export");
    await press("Delete account");
    const dialog = within(await screen.findByRole("dialog", { name: "Delete this account?" }));
    await userEvent.type(dialog.getByLabelText("Email"), "ada@example.com");
    await userEvent.type(dialog.getByLabelText("Password"), "secret");
    await userEvent.click(dialog.getByRole("button", { name: "Delete ada@example.com" }));
    await vi.waitFor(() => expect(assign).toHaveBeenCalledWith("/login"));
    expect(sent("DELETE")).toEqual([["/api/auth/account", { password: "secret", confirmEmail: "ada@example.com" }]]);
  });
});
