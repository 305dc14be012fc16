import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";

import { MockApi, aSession } from "@/testing/api";
import { renderAt } from "@/testing/render";
import { type KeyInfo, NO_LIMITS } from "./key-form";

const crawler: KeyInfo = {
  id: "0192f0c4-0000-7000-8000-000000000001",
  name: "Crawler",
  keyPrefix: "iploop_0a1b2c3",
  isActive: true,
  ipWhitelist: [],
  ipLogin: false,
  permissions: ["proxy"],
  limits: { ...NO_LIMITS, bytesPerDay: 500_000_000, countries: ["DE"] },
  expiresAt: null,
  lastUsedAt: null,
  createdAt: "2026-11-01T00:00:00Z",
};
const secret = `iploop_${"0a".repeat(24)}`;

let api: MockApi;
beforeEach(() => {
  api = new MockApi().on("get", "/api/auth/profile", 200, aSession());
  api.on("get", "/api/proxy/endpoint", 200, {
    host: "127.0.0.1",
    httpPort: 7777,
    socks5Port: 1080,
    username: "me",
    examples: { curl: "", python: "", nodejs: "" },
    parameters: [],
    endpoints: [
      { name: "HTTP Proxy", protocol: "http", host: "127.0.0.1", port: 7777, description: "", connectionString: "http://me:API_KEY@127.0.0.1:7777" },
    ],
  });
});

const list = (...keys: KeyInfo[]) => api.on("get", "/api/proxy/keys", 200, { keys, maxKeys: 5 });
const open = () => renderAt("/api-keys");
const button = (name: string | RegExp) => screen.findByRole("button", { name });

describe("the list of keys", () => {
  it("says that it is loading", async () => {
    api.hang("get", "/api/proxy/keys");
    open();
    expect(await screen.findByText("Loading")).toBeTruthy();
  });

  it("says why it can't be shown, and tries again", async () => {
    api.fail("get", "/api/proxy/keys", { status: 500, code: "internal", detail: "Something went wrong on our side" });
    open();
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong on our side");
    list(crawler);
    await userEvent.click(await button("Try again"));
    expect(await screen.findByText("Crawler")).toBeTruthy();
  });

  it("leads to the first key where there is none", async () => {
    list();
    open();
    expect(await screen.findByText("No keys yet")).toBeTruthy();
  });

  it("shows each key with what it may do", async () => {
    list(crawler, { ...crawler, id: "2", name: "Old", isActive: false }, { ...crawler, id: "3", name: "Late", expiresAt: "2020-01-01T00:00:00Z" });
    open();
    const row = async (name: string) => within(await screen.findByRole("row", { name: new RegExp(name) }));
    expect((await row("Crawler")).getByText("500 MB a day · DE")).toBeTruthy();
    expect((await row("Crawler")).getByText("Never")).toBeTruthy();
    expect((await row("Old")).getByText("Disabled")).toBeTruthy();
    expect((await row("Late")).getByText("Expired")).toBeTruthy();
  });

  it("says why no further key can be made", async () => {
    api.on("get", "/api/proxy/keys", 200, { keys: [crawler], maxKeys: 1 });
    open();
    const create = await screen.findByTitle(/Delete one to make another/);
    expect(create.hasAttribute("disabled")).toBe(true);
  });
});

describe("a new key", () => {
  it("is made with its limits and shown once, with a line to copy", async () => {
    list();
    api.on("post", "/api/proxy/keys", 201, { ...crawler, key: secret });
    open();
    await userEvent.click((await screen.findAllByRole("button", { name: "Create API key" }))[0] as HTMLElement);
    await userEvent.type(await screen.findByLabelText("Name"), "Crawler");
    await userEvent.click(await button("Set limits"));
    await userEvent.type(screen.getByLabelText("GB a day"), "0.5");
    await userEvent.type(screen.getByLabelText("Countries of the exits"), "de");
    await userEvent.click(await button("Create key"));
    expect(await screen.findByText(secret)).toBeTruthy();
    expect(screen.getByText(`curl -x http://me:${secret}@127.0.0.1:7777 https://example.com/`)).toBeTruthy();
    const made = api.asked.find(({ method }) => method === "POST");
    expect(made?.body).toMatchObject({ name: "Crawler", limits: { bytesPerDay: 500_000_000, countries: ["DE"], ports: [] } });
    list(crawler);
    await userEvent.click(await button("I saved it"));
    expect(screen.queryByText(secret)).toBeNull();
  });

  it("has the API's complaint beside its field", async () => {
    list();
    const message = "Must be two-letter codes of ISO 3166-1 or eu, at most 250 countries";
    api.fail("post", "/api/proxy/keys", {
      status: 400,
      code: "invalid_fields",
      detail: message,
      errors: [{ field: "limits.countries", message }],
    });
    open();
    await userEvent.click((await screen.findAllByRole("button", { name: "Create API key" }))[0] as HTMLElement);
    await userEvent.type(await screen.findByLabelText("Name"), "Crawler");
    await userEvent.click(await button("Set limits"));
    await userEvent.type(screen.getByLabelText("Countries of the exits"), "Atlantis");
    await userEvent.click(await button("Create key"));
    expect(await screen.findByText(message)).toBeTruthy();
    expect(screen.getByLabelText("Countries of the exits").getAttribute("aria-invalid")).toBe("true");
  });
});

describe("a key that is there", () => {
  it("is switched off and on", async () => {
    list(crawler);
    api.on("patch", "/api/proxy/keys/{keyId}", 200, { ...crawler, isActive: false });
    open();
    await userEvent.click(await button("Disable Crawler"));
    expect(api.asked.find(({ method }) => method === "PATCH")?.body).toEqual({ isActive: false });
  });

  it("keeps what was not changed", async () => {
    list(crawler);
    api.on("patch", "/api/proxy/keys/{keyId}", 200, crawler);
    open();
    await userEvent.click(await button("Edit Crawler"));
    const name = await screen.findByLabelText("Name");
    await userEvent.clear(name);
    await userEvent.type(name, "Prices");
    await userEvent.click(await button("Save changes"));
    const { limits } = crawler;
    const changed = api.asked.find(({ method }) => method === "PATCH");
    expect(changed?.body).toEqual({ name: "Prices", limits, ipLogin: false });
    expect(api.asked.some(({ method }) => method === "PUT")).toBe(false);
  });

  it("is deleted only after its name was read", async () => {
    list(crawler);
    api.on("delete", "/api/proxy/keys/{keyId}", 204, undefined);
    open();
    await userEvent.click(await button("Delete Crawler"));
    const dialog = within(await screen.findByRole("dialog", { name: "Delete Crawler?" }));
    expect(api.asked.some(({ method }) => method === "DELETE")).toBe(false);
    list();
    await userEvent.click(dialog.getByRole("button", { name: "Delete Crawler" }));
    expect(await screen.findByText("No keys yet")).toBeTruthy();
  });
});
