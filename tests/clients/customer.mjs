// A customer in a real browser: makes a key, sends a request with it, finds its receipt, keeps a preference. The only argument is an
// order as JSON: the dashboard's origin, the proxy, a destination, who signs in, the browser.

import assert from "node:assert/strict";
import http from "node:http";

import { assertAccessible, open, PATIENCE } from "./browser.mjs";

const { origin, proxy, destination, email, password, chromium: executable } = JSON.parse(process.argv[2]);
const { host, hostname } = new URL(destination);
// 400: what was typed is not taken. 401: nobody is signed in at first. 404: a receipt is asked for before the log has it.
const browser = await open({ origin, executable, expected: [400, 401, 404] });
const page = await (await browser.context()).newPage();
const heading = (name) => page.getByRole("heading", { name, exact: true });
const button = (name) => page.getByRole("button", { name, exact: true });
const field = (label) => page.getByLabel(label, { exact: true });
const go = (name) => page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name, exact: true }).click();

/** One request through the proxy: its status, its id, and how long its content was. */
function send(key) {
  const [address, port] = proxy.split(":");
  const token = Buffer.from(`iploop:${key}`).toString("base64");
  const headers = { Host: host, "Proxy-Authorization": `Basic ${token}` };
  return new Promise((resolve, reject) => {
    const request = http.get({ host: address, port, path: destination, headers, agent: false, timeout: PATIENCE }, (answer) => {
      let length = 0;
      answer.on("data", (chunk) => (length += chunk.length));
      answer.on("end", () => resolve({ status: answer.statusCode, id: answer.headers["x-iploop-request-id"], length }));
    });
    request.on("timeout", () => request.destroy(new Error("the proxy does not answer")));
    request.on("error", reject);
  });
}

await browser.run(async () => {
  // The page that was asked for comes after the sign-in.
  await page.goto("/api-keys");
  await field("Email").fill(email);
  await field("Password").fill(password);
  await button("Sign in").click();
  await heading("API keys").waitFor();
  await assertAccessible(page);

  // A key with a limit; what the API does not take is said beside its field.
  await button("Create API key").click();
  await field("Name").fill("From the browser");
  await button("Set limits").click();
  await field("GB a day").fill("0.5");
  await field("Countries of the exits").fill("Atlantis");
  await assertAccessible(page);
  await button("Create key").click();
  await page.getByText(/two-letter codes of ISO 3166-1/).waitFor();
  await field("Countries of the exits").fill("us");
  await button("Create key").click();

  // Its secret is shown this once.
  const dialog = page.getByRole("dialog", { name: "Your key From the browser" });
  const key = await dialog.getByText(/^iploop_[0-9a-f]{48}$/).innerText();
  await assertAccessible(page);
  await button("I saved it").click();
  await page.getByRole("row", { name: /From the browser.*500 MB a day · US/ }).waitFor();
  await page.reload();
  await page.getByRole("row", { name: /From the browser/ }).waitFor();
  assert.equal(await page.getByText(key).count(), 0);

  // A request with it has a receipt, whose bytes are those that the API says and the content's at least.
  const sent = await send(key);
  assert.equal(sent.status, 200);
  await page.goto(`/usage/requests/${sent.id}`);
  await page.getByText("200", { exact: true }).waitFor();
  const receipt = await page.evaluate(async (id) => (await fetch(`/api/usage/requests/${id}`)).json(), sent.id);
  assert.ok(receipt.bytesDownloaded >= sent.length, `${receipt.bytesDownloaded} of ${sent.length}`);
  for (const bytes of [receipt.bytesDownloaded, receipt.bytesUploaded, receipt.billedBytes]) {
    await page.getByText(`${bytes.toLocaleString("en-US")} bytes`, { exact: true }).first().waitFor();
  }
  await assertAccessible(page);

  // It is in the usage: in the list, and in the sums of today.
  await page.getByRole("link", { name: "All usage" }).click();
  await page.getByRole("table", { name: "Requests", exact: true }).getByRole("link", { name: host }).waitFor();
  await button("Today").click();
  await page.getByRole("list", { name: "Requests by destination" }).getByText(hostname).waitFor();
  await page.getByRole("list", { name: "Requests by exit country" }).getByText("United States").waitFor();
  await assertAccessible(page);

  // So it is at a glance.
  await go("Dashboard");
  await page.getByRole("img", { name: "Requests by day: 1 in all" }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await assertAccessible(page);

  // A preference is kept over a reload.
  await go("Settings");
  await field("Weekly report").uncheck();
  await button("Save notifications").click();
  await page.getByText("Saved", { exact: true }).waitFor();
  await assertAccessible(page);
  await page.reload();
  await field("Weekly report").waitFor();
  assert.equal(await field("Weekly report").isChecked(), false);
  assert.equal(await field("Monthly report").isChecked(), true);

  // A server without a payment provider says so.
  await go("Billing");
  await page.getByText("This server takes no payments", { exact: true }).first().waitFor();
  await page.getByRole("row", { name: /Bonus/ }).waitFor();
  await assertAccessible(page);

  // Deleting asks for the key by its name, and the proxy knows it at once.
  await go("API keys");
  await button("Delete From the browser").click();
  await page.getByRole("dialog", { name: "Delete From the browser?" }).getByRole("button", { name: "Delete From the browser" }).click();
  await page.getByRole("row", { name: /From the browser/ }).waitFor({ state: "detached" });
  assert.equal((await send(key)).status, 407);
});
