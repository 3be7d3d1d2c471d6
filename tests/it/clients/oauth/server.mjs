// The server around a provider of any kind: control, log and faults come first, then the provider.
import { createServer } from "node:http";

import { Faults, play } from "./faults.mjs";
import { clientId, Log } from "./log.mjs";
import { form, held, json, readBody, send } from "./http.mjs";
import { Secrets } from "./secrets.mjs";

/** Listens on loopback and resolves to {server, issuer}: a provider needs its address before it is made. */
export function listen(port) {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve({ server, issuer: `http://127.0.0.1:${server.address().port}` }));
  });
}

/**
 * Serves a provider that has `shown` what a test must know: {places: {path: "token" | "revoke" | …}, handle(req, res, body), before?, after?, control, keys}.
 * `before(request)` may respond or change the body; `after(request, response)` changes what the provider responds.
 */
export function serve(server, provider, shown) {
  const state = { faults: new Faults(), log: new Log(), secrets: new Secrets() };
  state.secrets.started(shown);
  server.on("request", (req, res) => {
    respond(provider, state, req, res).catch((error) => {
      console.error(error);
      if (res.headersSent) req.socket.destroy();
      else send(res, json(500, { error: "server_error", error_description: String(error) }));
    });
  });
}

async function respond(provider, { faults, log, secrets }, req, res) {
  const url = new URL(req.url, "http://127.0.0.1");
  const body = await readBody(req);
  if (url.pathname.startsWith("/_control")) return send(res, await control(provider, { faults, log }, req, url, body));
  const request = { req, url, path: url.pathname, body, fields: form(body) };
  const place = provider.places(url.pathname);
  const entry = place && log.add(place, req, url.pathname, body.length ? request.fields : url.searchParams);
  secrets.request(request);
  const process = async () => {
    const early = await provider.before?.(request);
    if (early) return early;
    req.body = request.body;
    const response = await held(req, res, () => provider.handle(req, res, request));
    const changed = (await provider.after?.(request, response)) ?? response;
    secrets.response(changed);
    return changed;
  };
  const parameters = { grant_type: request.fields.get("grant_type"), client_id: clientId(req.headers, request.fields) };
  const fault = place && faults.take(place, parameters);
  if (fault) entry.fault = fault.names;
  const resign = (token, how) => provider.keys.sign(token, how);
  const response = fault ? await play(fault, process, req, resign) : await process();
  if (!response) return undefined;
  if (entry) entry.status = response.status;
  return send(res, response);
}

/** The control endpoint: what a test sets, and what it reads. */
async function control(provider, { faults, log }, req, url, body) {
  if (url.pathname === "/_control/log") {
    const entries = log.entries;
    if (req.method === "DELETE") log.entries = [];
    return json(200, { requests: entries });
  }
  if (req.method !== "POST") return json(200, { faults: faults.waiting });
  try {
    const { fault, ...rest } = JSON.parse(body);
    if (fault !== undefined) faults.set({ fault, ...rest });
    else await orders(provider, rest);
    return json(200, { faults: faults.waiting });
  } catch (error) {
    return json(400, { error: error.message });
  }
}

/** Every order must be one that this kind knows. */
async function orders(provider, given) {
  for (const [name, value] of Object.entries(given)) {
    if (!provider.orders[name]) throw new Error(`unknown order: ${name}`);
    await provider.orders[name](value);
  }
}
