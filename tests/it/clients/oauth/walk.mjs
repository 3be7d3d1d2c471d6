// A browser's part by plain HTTP: cookies, redirects and the form_post page, and the client's part of a code flow.
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

import { importPKCS8, SignJWT } from "jose";

const PROGRAM = new URL("../oauth-provider.mjs", import.meta.url).pathname;

/** Starts a provider, and gives what its first line says with the means to talk to it. */
export async function start(kind, ...options) {
  const child = spawn(process.execPath, [PROGRAM, kind, "0", ...options], { stdio: ["pipe", "pipe", "ignore"] });
  const [line] = await new Promise((resolve, reject) => {
    createInterface(child.stdout).once("line", (text) => resolve([text]));
    child.once("exit", (code) => reject(new Error(`the provider ended with ${code}`)));
  });
  const first = JSON.parse(line);
  const control = async (order) => {
    const response = await fetch(first.control, { method: "POST", body: JSON.stringify(order) });
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  };
  const log = async () => (await (await fetch(`${first.control}/log`)).json()).requests;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const stop = () => (child.stdin.end(), ended);
  return { ...first, control_url: first.control, control, log, stop };
}

/** Cookies by name and path: those of an interaction must not reach another one. */
export class Jar {
  #cookies = new Map();

  keep(response) {
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(/;\s*/);
      const [name, value] = pair.split(/=(.*)/s);
      const path = attributes.find((text) => /^path=/i.test(text))?.slice(5) ?? "/";
      if (value) this.#cookies.set(`${name} ${path}`, { name, value, path });
      else this.#cookies.delete(`${name} ${path}`);
    }
  }

  header(url) {
    const { pathname } = new URL(url);
    const fits = ({ path }) => pathname === path || pathname.startsWith(path.endsWith("/") ? path : `${path}/`);
    return [...this.#cookies.values()]
      .filter(fits)
      .map(({ name, value }) => `${name}=${value}`)
      .join("; ");
  }
}

/** Follows redirects until one leads to `until`; gives the authorization response and each step on the way. */
export async function follow(url, until, jar = new Jar(), decision = null) {
  const steps = [];
  let next = url;
  let post = null;
  for (let count = 0; count < 12; count += 1) {
    const options = {
      redirect: "manual",
      headers: { cookie: jar.header(next) },
      ...(post && { method: "POST", body: post }),
    };
    const response = await fetch(next, options);
    jar.keep(response);
    steps.push(`${post ? "POST" : "GET"} ${new URL(next).pathname.replace(/[\w-]{21,}/, "UID")} ${response.status}`);
    post = null;
    const location = response.headers.get("location");
    if (location) {
      next = new URL(location, next).href;
      if (next.startsWith(until)) return { how: "query", fields: new URL(next).searchParams, steps };
      continue;
    }
    const html = await response.text();
    const action = /<form method="post" action="([^"]*)"/.exec(html)?.[1];
    if (!action) return { how: "page", status: response.status, html, steps };
    const target = new URL(unescaped(action), next).href;
    if (target.startsWith(until)) return { how: "form_post", fields: hiddenFields(html), steps };
    if (!decision) return { how: "page", status: response.status, html, steps };
    next = target;
    post = new URLSearchParams(decision);
  }
  throw new Error(`no end of redirects: ${steps.join(", ")}`);
}

function hiddenFields(html) {
  const found = html.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"\/>/g);
  return new URLSearchParams([...found].map(([, name, value]) => [name, unescaped(value)]));
}

function unescaped(text) {
  const letters = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" };
  return text.replace(/&(amp|lt|gt|quot|#39);/g, (name) => letters[name]);
}

/** A verifier with its challenge. */
export function pkce() {
  const verifier = randomBytes(32).toString("base64url");
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") };
}

/** Basic with both halves form-encoded. */
export function basic(id, secret) {
  const encoded = (text) => new URLSearchParams({ x: text }).toString().slice(2);
  return `Basic ${Buffer.from(`${encoded(id)}:${encoded(secret)}`).toString("base64")}`;
}

/** An assertion of a client that has a key (RFC 7523), or Apple's client secret. */
export async function assertion(key, { kid, iss, sub, aud, seconds = 60, alg = "ES256" }) {
  const jwt = new SignJWT({ jti: randomUUID() })
    .setProtectedHeader({ alg, kid })
    .setIssuer(iss)
    .setSubject(sub)
    .setAudience(aud);
  const now = Math.floor(Date.now() / 1000);
  return jwt
    .setIssuedAt(now)
    .setExpirationTime(now + seconds)
    .sign(await importPKCS8(key, "ES256"));
}

/** A POST to a token endpoint: {status, headers, text, parsed}. */
export async function token(url, fields, headers = {}) {
  const response = await fetch(url, { method: "POST", body: new URLSearchParams(fields), headers, redirect: "manual" });
  const text = await response.text();
  let parsed = null;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Not every response is JSON, and that is what some checks are about.
  }
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    headers: response.headers,
    text,
    parsed,
  };
}
