// What a provider does wrong when a test says so. Each fault is one that providers are known for, so that a client
// is tested against what it will meet and not against what a specification allows.
import { gzipSync } from "node:zlib";

import { json } from "./http.mjs";

/** Faults that respond in place of the provider, which never sees the request unless the fault says `processed`. */
const INSTEAD = {
  html502: () => ({
    status: 502,
    headers: { "content-type": "text/html" },
    body: "<html><h1>502 Bad Gateway</h1></html>",
  }),
  status: ({ status = 503, headers = {}, body = "" }) => ({ status, headers, body }),
  json_error: ({ status = 400, body = { error: "invalid_grant" } }) => json(status, body),
  empty: ({ status = 200 }) => ({ status, headers: { "content-type": "application/json" }, body: "" }),
  huge: ({ bytes = 1024 * 1024 }) => json(200, { access_token: "x".repeat(bytes), token_type: "Bearer" }),
};

/** Faults of the connection: no whole response arrives. */
const CUT = new Set(["drop", "hang", "truncate"]);

/** Changes of the members of a successful response. */
const MEMBERS = {
  no_expires: (members) => delete members.expires_in,
  string_expires: (members) => (members.expires_in = String(members.expires_in)),
  no_token_type: (members) => delete members.token_type,
  no_scope: (members) => delete members.scope,
  no_refresh_token: (members) => delete members.refresh_token,
  edit: (members, { set = {}, remove = [] }) => {
    Object.assign(members, set);
    for (const name of remove) delete members[name];
  },
};

/** Changes of how a successful response is written. */
const FORMS = {
  form: (response) => ({
    ...response,
    headers: { ...response.headers, "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
    body: new URLSearchParams(JSON.parse(response.body)).toString(),
  }),
  text_json: (response) => ({
    ...response,
    headers: { ...response.headers, "content-type": "text/javascript; charset=utf-8" },
  }),
  created: (response) => ({ ...response, status: 201 }),
  gzip: (response) => ({
    ...response,
    headers: { ...response.headers, "content-encoding": "gzip" },
    body: gzipSync(response.body),
  }),
};

const KNOWN = new Set([
  ...Object.keys(INSTEAD),
  ...CUT,
  ...Object.keys(MEMBERS),
  ...Object.keys(FORMS),
  "slow",
  "id_token",
]);

/** The faults that wait for their requests, in the order in which tests set them. */
export class Faults {
  #waiting = [];

  /** Adds a fault, or forgets all of them (`null`). A name that does not exist would make a test pass for nothing. */
  set(fault) {
    if (fault.fault === null) return void (this.#waiting = []);
    const names = [fault.fault].flat();
    const unknown = names.filter((name) => !KNOWN.has(name));
    if (unknown.length) throw new Error(`unknown fault: ${unknown.join(", ")}`);
    const times = fault.times === "all" ? Infinity : (fault.times ?? 1);
    this.#waiting.push({ on: "token", ...fault, names, times });
  }

  /** The fault of a request, which is counted. */
  take(place, parameters) {
    const narrows = ["grant_type", "client_id"];
    const fits = (fault) =>
      fault.on === place && narrows.every((name) => fault[name] === undefined || fault[name] === parameters[name]);
    const fault = this.#waiting.find(fits);
    if (!fault) return null;
    fault.times -= 1;
    if (fault.times <= 0) this.#waiting = this.#waiting.filter((other) => other !== fault);
    return fault;
  }

  /** How many faults still wait, so that a test can see that its own was used. */
  get waiting() {
    return this.#waiting.map(({ names, on, times }) => ({
      fault: names,
      on,
      times: times === Infinity ? "all" : times,
    }));
  }
}

/** Plays a fault. `process` gives the provider's own response; the result is null where nothing is to be sent. */
export async function play(fault, process, req, resign) {
  const instead = fault.names.find((name) => INSTEAD[name]);
  if (instead && !fault.processed) return INSTEAD[instead](fault);
  if (fault.names.includes("hang") && !fault.processed) return null;
  let response = await process();
  if (instead) return INSTEAD[instead](fault);
  if (fault.names.includes("hang")) return null;
  // Processed and never sent: the lost response, after which a strict provider takes a retry for a reuse.
  if (fault.names.includes("drop")) return void req.socket.destroy();
  if (fault.names.includes("slow")) await new Promise((done) => setTimeout(done, fault.ms ?? 1000));
  if (response.status === 200) response = await changed(response, fault, resign);
  if (!fault.names.includes("truncate")) return response;
  const bytes = Buffer.from(response.body);
  req.socket.write(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${bytes.length}\r\n\r\n`);
  req.socket.end(bytes.subarray(0, bytes.length / 2));
  return null;
}

/** A successful response with the changes that a fault names. */
async function changed(response, fault, resign) {
  const member = fault.names.filter((name) => MEMBERS[name] || name === "id_token");
  let result = response;
  if (member.length) {
    const members = JSON.parse(response.body);
    for (const name of member) {
      if (name === "id_token") members.id_token = await resign(members.id_token, fault);
      else MEMBERS[name](members, fault);
    }
    result = { ...response, body: JSON.stringify(members) };
  }
  return fault.names.filter((name) => FORMS[name]).reduce((made, name) => FORMS[name](made), result);
}
