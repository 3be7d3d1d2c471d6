// What the signers share: a request as the provider sends it, and the hashes of node:crypto.
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

/** Who signed, where no library of the vendor does. */
export const NODE = "node:crypto";

/** The name and version of an npm package that is installed here. */
export function library(name) {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`;
}

/** An HMAC of bytes or a text, as `hex` or `base64`. */
export function hmac(hash, key, text, encoding) {
  return createHmac(hash, key).update(text).digest(encoding);
}

/** A secret or an id that no other request has. */
export function random(length = 16) {
  return randomBytes(length).toString("hex");
}

/** Seconds since 1970, as providers write them. */
export function seconds(now) {
  return String(Math.floor(now / 1000));
}

/** A POST of JSON. The spacing is part of the signed bytes, and so is what is beyond ASCII. */
export function json(value, headers = {}) {
  const body = JSON.stringify(value, null, 1);
  return { method: "POST", body, headers: { "content-type": "application/json", ...headers } };
}

/** A POST of a form. */
export function form(fields, headers = {}) {
  const type = "application/x-www-form-urlencoded";
  const body = new URLSearchParams(fields).toString();
  return { method: "POST", body, headers: { "content-type": type, ...headers } };
}

/** The same request with more headers. */
export function withHeaders(request, headers) {
  return { ...request, headers: { ...request.headers, ...headers } };
}

/** Basic authentication. */
export function basic(credentials) {
  return `Basic ${Buffer.from(credentials).toString("base64")}`;
}

/** Ends the program where a vendor's verifier refuses what was made here. */
export function accepted(is_valid, verifier) {
  if (is_valid !== true) throw new Error(`${verifier} refuses the request: ${JSON.stringify(is_valid)}`);
  return verifier;
}
