// A stranger's way into the dashboard, in a real browser. The only argument is an order as JSON: the dashboard's origin, the outbox
// of its server, the browser.

import assert from "node:assert/strict";

import { assertAccessible, code, linkInMail, open } from "./browser.mjs";

const { origin, outbox, chromium: executable } = JSON.parse(process.argv[2]);
const ada = { email: "ada@example.com", password: "correct horse battery" };
const browser = await open({ origin, executable, expected: [400, 401, 404, 409] });
const context = await browser.context();
const page = await context.newPage();
const heading = (name) => page.getByRole("heading", { name });
const button = (name) => page.getByRole("button", { name, exact: true });
const field = (label) => page.getByLabel(label, { exact: true });

async function signIn({ email, password }) {
  await field("Email").fill(email);
  await field("Password").fill(password);
  await button("Sign in").click();
}

async function signOut() {
  await page.getByRole("button", { name: /^Account of/ }).click();
  await page.getByRole("button", { name: "Sign out" }).last().click();
  await heading("Sign in to IPLoop").waitFor();
}

await browser.run(async () => {
  // A stranger is sent to sign in, whatever the page.
  await page.goto("/");
  await heading("Sign in to IPLoop").waitFor();
  await assertAccessible(page);

  // And registers, after what was forgotten is said beside its field.
  await page.getByRole("link", { name: "Sign up" }).click();
  await heading("Create your account").waitFor();
  await button("Create account").click();
  await page.getByText("Enter your email address").waitFor();
  await assertAccessible(page);
  await field("First name").fill("Ada");
  await field("Last name").fill("Byron");
  await field("Email").fill(ada.email);
  await field("Password").fill("password");
  await field("Confirm password").fill("password");
  await button("Create account").click();
  await page.getByText(/common/).waitFor();
  await field("Password").fill(ada.password);
  await field("Confirm password").fill(ada.password);
  await button("Create account").click();
  await heading("Dashboard").waitFor();
  await page.getByText("Verify your email address").waitFor();
  await assertAccessible(page);

  // The mail's link verifies the address, on the page that needs no script; the dashboard knows it at the next look.
  const link = await linkInMail(outbox, ada.email, "/api/auth/verify-email");
  const token = new URL(link).searchParams.get("token");
  const mailed = await context.newPage();
  await mailed.goto(`${origin}/api/auth/verify-email?token=${token}`);
  await mailed.getByRole("button", { name: "Verify my email" }).click();
  await mailed.getByText("Your email address is verified").waitFor();
  await mailed.close();
  await page.reload();
  await heading("Dashboard").waitFor();
  assert.equal(await page.getByText("Verify your email address").count(), 0);

  // Nothing that signs in is where scripts can read it.
  const kept = await page.evaluate(() => [document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)].join(" "));
  assert.ok(!/eyJ|csrf|token/i.test(kept), kept);

  // Changes work after a reload: the proof comes with the profile.
  await signOut();
  await page.goto("/dashboard");
  await heading("Sign in to IPLoop").waitFor();

  // A wrong password is explained.
  await signIn({ ...ada, password: "wrong horse battery" });
  assert.match(await page.getByRole("alert").textContent(), /Invalid email or password/);
  await assertAccessible(page);
  // An address that is taken, too.
  await page.getByRole("link", { name: "Sign up" }).click();
  await field("First name").fill("Ada");
  await field("Last name").fill("Byron");
  await field("Email").fill(ada.email);
  await field("Password").fill(ada.password);
  await field("Confirm password").fill(ada.password);
  await button("Create account").click();
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").textContent(), /already exists/);

  // The second factor, turned on by a program.
  const call = async (path, body, headers = {}) => {
    const answer = await fetch(`${origin}/api/auth/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.json();
  };
  const { token: bearer } = await call("login", ada);
  const authorization = { Authorization: `Bearer ${bearer}` };
  const { secret } = await call("two-factor/setup", { password: ada.password }, authorization);
  const { recoveryCodes } = await call("two-factor/confirm", { code: code(secret) }, authorization);

  // A code signs in, to the page that was asked for.
  await page.goto("/dashboard?from=mail");
  await heading("Sign in to IPLoop").waitFor();
  await signIn(ada);
  await heading("Two-factor authentication").waitFor();
  await assertAccessible(page);
  await field("Authentication code").fill("000000");
  await button("Verify").click();
  await page.getByRole("alert").waitFor();
  // The code of now is used up by turning it on.
  await field("Authentication code").fill(code(secret, 1));
  await button("Verify").click();
  await heading("Dashboard").waitFor();
  assert.equal(new URL(page.url()).search, "?from=mail");
  await signOut();

  // So does a recovery code, by the keyboard alone.
  await field("Email").fill(ada.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(ada.password);
  await page.keyboard.press("Enter");
  await button("Use a recovery code").click();
  await field("Recovery code").fill(recoveryCodes[0]);
  await page.keyboard.press("Enter");
  await heading("Dashboard").waitFor();

  // A login that ends elsewhere leads to the sign-in, and back.
  const { challenge } = await call("login", ada);
  const again = await call("login/two-factor", { challenge, code: recoveryCodes[1] });
  const ended = await fetch(`${origin}/api/auth/sessions`, { method: "DELETE", headers: { Authorization: `Bearer ${again.token}` } });
  assert.ok(ended.ok, `${ended.status}`);
  await page.reload();
  await heading("Sign in to IPLoop").waitFor();

  // A new password by mail. The page of the dashboard takes the same token as the one that needs no script.
  await page.getByRole("link", { name: "Forgot your password?" }).click();
  await field("Email").fill(ada.email);
  await button("Send reset link").click();
  await page.getByText("Look into your mail").waitFor();
  const reset = new URL(await linkInMail(outbox, ada.email, "/api/auth/reset-password"));
  await page.goto(`/reset-password${reset.search}`);
  await field("New password").fill("another horse battery");
  await field("Confirm password").fill("another horse batterz");
  await button("Reset password").click();
  await page.getByText("The passwords differ").waitFor();
  await field("Confirm password").fill("another horse battery");
  await button("Reset password").click();
  await page.getByText("Your password is set").waitFor();
  await page.goto(`/reset-password${reset.search}`);
  await page.getByRole("alert").waitFor();

  // A small screen has the pages in a drawer, which the keyboard opens and closes; an address without a page says so.
  const small = await browser.context({ viewport: { width: 375, height: 700 }, colorScheme: "dark" });
  await small.addCookies(await context.cookies());
  const phone = await small.newPage();
  await phone.goto("/nothing-here");
  await phone.getByRole("heading", { name: "There is no such page" }).waitFor();
  await assertAccessible(phone);
  await phone.getByRole("link", { name: "Go to the dashboard" }).click();
  await phone.getByLabel("Email", { exact: true }).fill(ada.email);
  await phone.getByLabel("Password", { exact: true }).fill("another horse battery");
  await phone.getByRole("button", { name: "Sign in", exact: true }).click();
  await phone.getByRole("button", { name: "Use a recovery code" }).click();
  await phone.getByLabel("Recovery code").fill(recoveryCodes[2]);
  await phone.getByRole("button", { name: "Verify", exact: true }).click();
  await phone.getByRole("heading", { name: "Dashboard" }).waitFor();
  await assertAccessible(phone);
  assert.equal(await phone.getByRole("navigation", { name: "Pages" }).isVisible(), false);
  await phone.getByRole("button", { name: "Open the menu" }).press("Enter");
  await phone.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Dashboard" }).waitFor();
  await assertAccessible(phone);
  await phone.keyboard.press("Escape");
  await phone.getByRole("navigation", { name: "Pages" }).waitFor({ state: "hidden" });
});
