// Drives the Node.js HTTP clients through the proxy. Its only argument is an order in JSON; each case is a line in JSON.

import fs from "node:fs";
import axios from "axios";
import got from "got";
import { HttpProxyAgent, HttpsProxyAgent as HpagentHttps } from "hpagent";
import { HttpsProxyAgent } from "https-proxy-agent";
import { SocksProxyAgent } from "socks-proxy-agent";
import { chromium } from "playwright-core";
import { ProxyAgent, fetch, request } from "undici";
import WebSocket from "ws";

const order = JSON.parse(process.argv[2]);
const ca = fs.readFileSync(order.ca);
const timeout = 30_000;

/** Ways to write a login, each with the exit that it must lead to; none where the login is wrong. */
const [us, de, il] = order.exits;
const logins = [
  { where: "targeting in the password", user: "iploop", password: `${order.key}-country-${us.country}`, ip: us.ip },
  { where: "targeting in the user name", user: `${order.key}-country-${de.country}`, password: "x", ip: de.ip },
  { where: "targeting in the user name, key in the password", user: `iploop-country-${il.country}`, password: order.key, ip: il.ip },
  { where: "a wrong password", user: "iploop", password: `iploop_${"0f".repeat(24)}`, ip: null },
];
const targets = [
  { name: "HTTP", url: order.http },
  { name: "HTTPS", url: order.https },
];

/** Every scheme with every login and target. */
function* proxies(schemes) {
  for (const scheme of schemes) {
    const address = scheme.startsWith("socks") ? order.socks : order.proxy;
    for (const login of logins) {
      for (const target of targets) {
        const proxy = `${scheme}://${login.user}:${login.password}@${address}`;
        const name = `${target.name} by ${scheme}, ${login.where}`;
        yield { name, scheme, address, proxy, ...login, url: target.url, secure: target.name === "HTTPS" };
      }
    }
  }
}

/** Whether the client says that the login is to blame: by the status, by quoting it, or in its own words. */
function isRefusal(name, status, detail) {
  return status === 407 || (name.includes(" by socks") ? /authentication failed/i : /\b407\b/).test(detail);
}

/** `ask` returns a status and the origin's answer. A case that fails in any way is reported, and the next one runs. */
async function run(client, { name, ip }, ask) {
  const line = { client, case: name, ok: false, status: null, exit_ip: null, detail: "" };
  try {
    const { status, answer } = await ask();
    line.status = status;
    line.exit_ip = answer.ip ?? null;
    line.ok = status === 200 && ip !== null && answer.ip === ip;
    if (!line.ok) line.detail = JSON.stringify(answer);
  } catch (error) {
    line.detail = `${error?.stack ?? error} ${error?.cause ?? ""}`;
  }
  if (ip === null) line.ok = isRefusal(name, line.status, line.detail);
  console.log(JSON.stringify(line));
}

/** undici's own agent: a tunnel for everything, unless it is told otherwise. */
async function withUndici() {
  for (const proxyTunnel of [true, false]) {
    for (const one of proxies(["http", "https"])) {
      if (!proxyTunnel && one.secure) continue;
      const name = proxyTunnel ? one.name : `${one.name}, forwarded`;
      await run("undici", { ...one, name }, async () => {
        const token = `Basic ${Buffer.from(`${one.user}:${one.password}`).toString("base64")}`;
        const uri = `${one.scheme}://${one.address}`;
        const dispatcher = new ProxyAgent({ uri, token, proxyTunnel, proxyTls: { ca }, requestTls: { ca } });
        try {
          // A fetch says nothing but "failed" of a 407, as its specification wants; a request says what it was.
          if (proxyTunnel && one.ip !== null) {
            const response = await fetch(one.url, { dispatcher, signal: AbortSignal.timeout(timeout) });
            return { status: response.status, answer: await response.json() };
          }
          const response = await request(one.url, { dispatcher, headersTimeout: timeout });
          return { status: response.statusCode, answer: await response.body.json() };
        } finally {
          await dispatcher.close();
        }
      });
    }
  }
}

/** axios: its own proxy setting for plain HTTP, agents for the rest. */
async function withAxios() {
  for (const one of proxies(["http", "https", "socks5", "socks5h"])) {
    await run("axios", one, async () => {
      const options = { timeout, validateStatus: () => true, proxy: false };
      if (one.scheme.startsWith("socks")) {
        const agent = new SocksProxyAgent(one.proxy, { ca });
        Object.assign(options, { httpAgent: agent, httpsAgent: agent });
      } else if (one.secure || one.scheme === "https") {
        const agent = new HttpsProxyAgent(one.proxy, { ca });
        Object.assign(options, { httpAgent: agent, httpsAgent: agent });
      } else {
        const [host, port] = one.address.split(":");
        const auth = { username: one.user, password: one.password };
        options.proxy = { protocol: "http", host, port: Number(port), auth };
      }
      const response = await axios.get(one.url, options);
      return { status: response.status, answer: response.data };
    });
  }
}

/** got, with the agents that its documentation names. */
async function withGot() {
  for (const one of proxies(["http", "https", "socks5"])) {
    await run("got", one, async () => {
      let agent;
      if (one.scheme.startsWith("socks")) {
        const socks = new SocksProxyAgent(one.proxy);
        agent = { http: socks, https: socks };
      } else {
        agent = {
          http: new HttpProxyAgent({ proxy: one.proxy, proxyRequestOptions: { ca } }),
          https: new HpagentHttps({ proxy: one.proxy, proxyRequestOptions: { ca } }),
        };
      }
      const response = await got(one.url, {
        agent,
        https: { certificateAuthority: ca },
        retry: { limit: 0 },
        timeout: { request: timeout },
        throwHttpErrors: false,
      });
      return { status: response.statusCode, answer: JSON.parse(response.body) };
    });
  }
}

/** ws: through a tunnel by an agent, and in the clear as an upgrade that the proxy forwards. */
async function withWs() {
  for (const one of proxies(["http", "https", "socks5", "upgrade"])) {
    const isUpgrade = one.scheme === "upgrade";
    if (isUpgrade && one.secure) continue;
    await run("ws", one, async () => {
      const url = new URL(one.url.replace(/^http/, "ws").replace(/echo$/, "ws"));
      const options = { ca, handshakeTimeout: timeout };
      if (isUpgrade) {
        // The request goes to the proxy's address, and its target and Host say where it is meant for.
        const token = Buffer.from(`${one.user}:${one.password}`).toString("base64");
        options.headers = { Host: url.host, "Proxy-Authorization": `Basic ${token}` };
        const target = `http://${url.host}${url.pathname}`;
        url.host = one.address;
        options.finishRequest = (request) => {
          request.path = target;
          request.end();
        };
      } else if (one.scheme.startsWith("socks")) {
        options.agent = new SocksProxyAgent(one.proxy);
      } else {
        options.agent = new HttpsProxyAgent(one.proxy, { ca });
      }
      const socket = new WebSocket(url, options);
      try {
        return await new Promise((resolve, reject) => {
          socket.on("error", reject);
          socket.on("open", () => socket.send("hello"));
          socket.on("message", (text) => {
            const answer = JSON.parse(text);
            resolve({ status: answer.said === "hello" ? 200 : null, answer });
          });
        });
      } finally {
        socket.close();
      }
    });
  }
}

/** Who is known by address needs no login, and gets no choice of the exit: the only one. */
function* byAddress() {
  for (const scheme of ["socks5", "http"]) {
    for (const target of targets) {
      const address = scheme === "socks5" ? order.socks : order.proxy;
      yield { name: `${target.name} by ${scheme}, no login`, scheme, address, ip: us.ip, url: target.url };
    }
  }
}

/** Playwright with Chromium, which speaks HTTP/2 to a proxy by TLS. It has no login for SOCKS5. */
async function withPlaywright() {
  const launch = { executablePath: order.chromium, args: ["--no-sandbox", "--ignore-certificate-errors"] };
  const browser = await chromium.launch(launch);
  try {
    for (const one of order.known ? byAddress() : proxies(["http", "https"])) {
      await run("Playwright", one, async () => {
        const proxy = { server: `${one.scheme}://${one.address}`, username: one.user, password: one.password };
        const context = await browser.newContext({ proxy, ignoreHTTPSErrors: true });
        try {
          const page = await context.newPage();
          const response = await page.goto(one.url, { timeout }).catch(async (error) => {
            // What the user reads in place of the page.
            const shown = await page.textContent("body");
            throw new Error(`${error} ${shown}`);
          });
          return { status: response.status(), answer: await response.json() };
        } finally {
          await context.close();
        }
      });
    }
  } finally {
    await browser.close();
  }
}

const clients = { undici: withUndici, axios: withAxios, got: withGot, ws: withWs, Playwright: withPlaywright };
for (const [name, runAll] of Object.entries(clients)) {
  if (!order.only || order.only === name) {
    await runAll();
  }
}
