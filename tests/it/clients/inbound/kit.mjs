// What the signers share: a request as the provider sends it, and the hashes of node:crypto.
import { createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
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

/** One request of a provider that node:crypto signs. */
export function one(name, secret, request) {
  return [{ case: name, signer: NODE, secrets: [secret], ...request }];
}

/** A time as in ISO 8601. */
export function iso(now) {
  return new Date(now).toISOString();
}

/** JSON as PHP writes it: without letters beyond ASCII, and with escaped slashes. */
export function escaped(text, letters = /[\u0080-\uffff]/g) {
  const escape = (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return text.replace(letters, escape).replaceAll("/", "\\/");
}

/** An ed25519 key pair, its public key as the 32 bytes alone. */
export function ed25519() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const bytes = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
  return { bytes, sign: (text) => sign(null, Buffer.from(text), privateKey) };
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
