// What was asked of a provider, so that a test can count the POSTs of one grant. Secrets are kept as hashes alone: the
// log of a failed test is printed.
import { createHash } from "node:crypto";

/** The SHA-256 of a text in hex, as the log names tokens. */
export function sha256(text) {
  return createHash("sha256").update(text).digest("hex");
}

const HIDDEN = new Set(["authorization", "cookie"]);
const TOKENS = ["refresh_token", "code", "token", "access_token"];

/** How a client authenticated at the token endpoint. */
function clientAuth(headers, fields) {
  if (/^basic /i.test(headers.authorization ?? "")) return "basic";
  if (fields.has("client_assertion")) return "private_key_jwt";
  return fields.has("client_secret") ? "post" : "none";
}

/** The client that a request names, in the form or in Basic. */
export function clientId(headers, fields) {
  const basic = /^basic (.+)$/i.exec(headers.authorization ?? "");
  if (!basic) return fields.get("client_id");
  const name = Buffer.from(basic[1], "base64").toString().split(":")[0];
  try {
    return decodeURIComponent(name.replaceAll("+", " "));
  } catch {
    return name;
  }
}

export class Log {
  entries = [];

  /** Writes down a request; its status follows when it is known. */
  add(place, req, path, fields) {
    const bearer = /^bearer (.+)$/i.exec(req.headers.authorization ?? "");
    const headers = Object.entries(req.headers).map(([name, value]) => [name, HIDDEN.has(name) ? "hidden" : value]);
    const entry = {
      id: this.entries.length + 1,
      at: new Date().toISOString(),
      place,
      method: req.method,
      path,
      grant_type: fields.get("grant_type"),
      client_auth: clientAuth(req.headers, fields),
      client_id: clientId(req.headers, fields),
      parameters: [...fields.keys()],
      scope: fields.get("scope"),
      headers: Object.fromEntries(headers),
      fault: null,
      status: null,
    };
    for (const name of TOKENS) if (fields.has(name)) entry[`${name}_sha256`] = sha256(fields.get(name));
    if (bearer) entry.access_token_sha256 = sha256(bearer[1]);
    this.entries.push(entry);
    return entry;
  }
}
