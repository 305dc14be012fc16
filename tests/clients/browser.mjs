// What tests of the dashboard share: a browser that is watched, mails, and an authenticator.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { chromium } from "playwright-core";

/** The longest that anything may take, on a machine that is busy building. */
export const PATIENCE = 60_000;

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/**
 * A browser on the dashboard at `origin`. Every page of it is watched: complaints of the browser, a violated policy and a request to
 * anybody else are collected, and `run` fails with them. Answers whose status is in `expected` are none.
 */
export async function open({ origin, executable, expected = [401] }) {
  const browser = await chromium.launch({
    executablePath: executable,
    // Names lead nowhere: what is not on this machine can't be reached by mistake either.
    args: ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  });
  const complaints = [];
  const context = async (options = {}) => {
    const made = await browser.newContext({ baseURL: origin, ...options });
    made.setDefaultTimeout(PATIENCE);
    made.on("request", (request) => {
      if (!request.url().startsWith(`${origin}/`)) complaints.push(`asked elsewhere: ${request.url()}`);
    });
    made.on("weberror", (error) => complaints.push(`thrown: ${error.error().stack}`));
    made.on("console", (message) => {
      const text = message.text();
      // The browser logs every answer of 400 and more, although the page deals with it.
      const isExpected = expected.some((status) => text.includes(`the server responded with a status of ${status} `));
      if (["error", "warning"].includes(message.type()) && !isExpected) complaints.push(`${message.type()}: ${text}`);
    });
    return made;
  };
  /** Does the work, and closes; where it fails, says what was on the pages then. */
  const run = async (work) => {
    try {
      await work();
    } catch (error) {
      for (const page of browser.contexts().flatMap((one) => one.pages())) {
        process.stderr.write(`${page.url()} showed:\n${await page.innerText("body").catch(String)}\n`);
      }
      process.stderr.write(`${complaints.join("\n")}\n`);
      throw error;
    } finally {
      await browser.close();
    }
    assert.deepEqual(complaints, []);
  };
  return { context, run };
}

/** What stands in the way of people who see, hear or type otherwise, as far as a program can tell (WCAG 2.1, A and AA). */
export async function assertAccessible(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }),
  );
  const found = violations.map(({ id, nodes }) => ({ id, where: nodes.map((node) => `${node.html}: ${node.failureSummary}`) }));
  assert.deepEqual(found, [], page.url());
}

/** The link below `/api/` of the first mail to `address` in the outbox that has one, once it is there. */
export async function linkInMail(outbox, address, path) {
  const until = Date.now() + PATIENCE;
  const isMail = (name) => name.endsWith(".eml");
  for (;;) {
    for (const name of readdirSync(outbox).filter(isMail)) {
      // Soft line breaks of quoted-printable, where there are any.
      const mail = readFileSync(join(outbox, name), "utf8").replaceAll("=\r\n", "").replaceAll("=3D", "=");
      const link = mail.match(new RegExp(`http://[^\\s"]+${path}\\?token=[\\w.-]+`));
      if (mail.includes(address) && link) return link[0];
    }
    assert.ok(Date.now() < until, `no mail to ${address} with ${path}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What an authenticator shows (RFC 6238), `later` steps of 30 seconds from now. */
export function code(secret, later = 0) {
  const bits = [...secret].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + later));
  const tag = createHmac("sha1", key).update(step).digest();
  const number = tag.readUInt32BE(tag.at(-1) & 0xf) & 0x7fff_ffff;
  return String(number % 1_000_000).padStart(6, "0");
}
