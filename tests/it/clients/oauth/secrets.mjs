// What must be nowhere but at the provider and in Secrets Manager: everything secret that this provider was shown or gave
// out is written into a file of the run, and `dev/sweep.py` looks for it in logs, tables and problems when the run ends.
import { appendFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";

/** Names of fields and members whose values are secrets. */
const NAMES = [
  "access_token",
  "client_assertion",
  "client_secret",
  "code",
  "code_verifier",
  "id_token",
  "refresh_token",
  "state",
  "token",
];
/** Shorter texts are words that a test uses, such as a wrong token. */
const SHORTEST = 12;

export class Secrets {
  #known = new Set();
  #file = null;

  constructor(state = process.env.CW_STACK_STATE) {
    if (!state) return;
    const folder = join(dirname(state), "secrets");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#file = join(folder, `${process.pid}-${Date.now()}.jsonl`);
  }

  /** Writes a secret down, once. */
  note(kind, value) {
    if (!this.#file || typeof value !== "string" || value.length < SHORTEST || this.#known.has(value)) return;
    this.#known.add(value);
    appendFileSync(this.#file, `${JSON.stringify({ kind, value })}\n`, { mode: 0o600 });
  }

  /** What a provider says of itself when it starts. */
  started({ secrets = {}, private_key = "" }) {
    for (const value of Object.values(secrets)) this.note("client_secret", value);
    for (const line of private_key.split("\n").filter((text) => !text.startsWith("-----"))) this.note("private_key", line);
  }

  request({ req, url, fields }) {
    for (const parameters of [url.searchParams, fields])
      for (const name of NAMES) for (const value of parameters.getAll(name)) this.note(name, value);
    const shown = /^(?:basic|bearer|oauth) (.+)$/i.exec(req.headers.authorization ?? "");
    if (shown) this.note("authorization", shown[1]);
  }

  response({ headers, body }) {
    if (headers.location?.includes("code=")) this.note("code", new URL(headers.location).searchParams.get("code"));
    const text = body.toString();
    const posted = /<input type="hidden" name="code" value="([^"]*)"/.exec(text);
    if (posted) this.note("code", posted[1]);
    if (!text.startsWith("{")) return;
    const members = JSON.parse(text);
    for (const name of NAMES) this.note(name, members[name]);
  }
}
