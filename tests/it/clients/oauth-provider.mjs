// An OAuth provider on loopback for the end-to-end tests, strict where real ones are and faulty when a test says so.
//
//   node oauth-provider.mjs oidc|apple|plain PORT [--redirect URI]… [--jwk JSON] [--secret TEXT]
//                           [--client ID] [--team TEAM] [--key-id KID]
//
// PORT 0 takes any. The first and only line of standard output is JSON, when it listens:
//   {"issuer", "control": ISSUER + "/_control"} and by kind
//   oidc   "secrets": {"rotating", "keeping"}; without --jwk "private_key" (PKCS#8 PEM) and "key_id" of `asserting`
//   apple  "team", "client", "key_id"; without --jwk "private_key", the key whose public half is registered
//   plain  "client", "secrets": {CLIENT: SECRET}, "shapes"
// --jwk is the public P-256 key of `asserting` (kid `asserting` unless it has one), or of Apple's client. The program ends when its standard input does.
//
// oidc   /auth /token /token/revocation /token/introspection /me /jwks /.well-known/openid-configuration
//        Clients: rotating (Basic, form-encoded), keeping (secret in the body), asserting (private_key_jwt, ES256).
//        PKCE S256 is required. A refresh token needs `scope=offline_access` with `prompt=consent`; `keeping` gives one
//        for `access_type=offline` too, then on the first consent of an account or with `prompt=consent`.
//        Scopes: openid offline_access email profile calendar contacts.
// apple  /auth/authorize /auth/token /auth/revoke /auth/keys; the client secret's `aud` is the issuer.
// plain  /authorize /token /userinfo /revoke (any method), DELETE /applications/…; one client; see oauth/shapes.mjs.
//
// Login and consent without a browser. Follow redirects by hand, keep cookies by name AND path, send them back where
// their path fits (`/interaction/UID`, `/auth/UID`):
//   1. GET  /auth?…&login_hint=ACCOUNT      303 to /interaction/UID (relative), Set-Cookie _interaction, _resume (+ .sig)
//   2. GET  /interaction/UID                303 to ISSUER/auth/UID: signed in and consented; any name is an account
//   3. GET  /auth/UID                       303 to REDIRECT_URI?code&state&iss
//      or, with response_mode=form_post, 200 with a page whose form has action=REDIRECT_URI and <input type="hidden"
//      name="…" value="…"/> for code, state, iss (and Apple's user): POST these, as a browser would from another site.
// Apple is the same with /auth/authorize in place of /auth. `plain` needs one request: GET /authorize 302 REDIRECT_URI.
// Without login_hint (and no account set by control) step 2 is 200 with a page titled "Sign in"; POST to the same URL
// account=NAME&decision=allow, or decision=deny, and go on with its 303. An error response takes the same way.
// A request that is itself wrong (client, redirect URI) is 400 with a page; other errors go back to REDIRECT_URI.
//
// Control: POST /_control with one JSON object, 200 {"faults": those that wait} or 400 {"error"}. GET shows the former.
//   {"fault": NAME or [NAMES], "times": 1 | N | "all", "on": "token" (or userinfo, jwks, discovery, revoke, introspect, authorize),
//    "grant_type", "client_id": only such requests, …}; {"fault": null} forgets all. Faults are used in their order.
//   In place of the provider (with "processed": true after it did its work): html502, status {status, headers, body},
//     json_error {status, body}, empty {status}, huge {bytes}, hang.
//   Processed, then: drop (the lost response), truncate, slow {ms}, form, text_json, created, gzip, no_expires,
//     string_expires, no_token_type, no_scope, no_refresh_token, edit {set, remove}, and on id_tokens
//     id_token {claims (null removes), shift {exp: -7200}, header {kid: null, alg: "none" | "HS256"}, key: "other",
//     signature: "bad"}.
// Orders, several in one object if need be:
//   account NAME: signs in without login_hint · accounts {NAME: {claim: value}} · redirects [URI]
//   next_authorization {account, error, scopes: granted ones, iss: null | TEXT, page: true, times}
//   grant_limit N | null: grants of an account and client that live (oidc, apple) ·
//   access_token_seconds N | null · rotate_keys "new_kid" | "same_kid" (oidc, apple)
//   revoke {account, client_id?}: the user takes the grant back · client_secret {client_id, secret} (oidc, plain)
//   asserting_jwk JWK (oidc) · jwk JWK (apple) · shape NAME (plain)
// GET /_control/log gives {"requests": [{id, at, place, method, path, grant_type, client_auth: basic | post |
//   private_key_jwt | none, client_id, parameters, scope, headers, fault, status, refresh_token_sha256, code_sha256,
//   token_sha256, access_token_sha256}]}, hashes in hex; status null: no response was sent. DELETE empties it.
import { apple } from "./oauth/apple.mjs";
import { oidc } from "./oauth/oidc.mjs";
import { plain } from "./oauth/plain.mjs";
import { listen, serve } from "./oauth/server.mjs";

const KINDS = { oidc, apple, plain };
const TEXTS = {
  "--redirect": "redirects",
  "--jwk": "jwk",
  "--secret": "secret",
  "--team": "team",
  "--key-id": "key_id",
  "--client": "client",
};

function options(given) {
  const [kind, port, ...rest] = given;
  const made = { redirects: [] };
  for (let at = 0; at < rest.length; at += 2) {
    const name = TEXTS[rest[at]];
    if (!name || rest[at + 1] === undefined) throw new Error(`unknown or incomplete option: ${rest[at]}`);
    if (name === "redirects") made.redirects.push(rest[at + 1]);
    else made[name] = name === "jwk" ? JSON.parse(rest[at + 1]) : rest[at + 1];
  }
  if (!KINDS[kind] || !/^\d+$/.test(port ?? ""))
    throw new Error("usage: oauth-provider.mjs oidc|apple|plain PORT [--redirect URI]…");
  if (!made.redirects.length) made.redirects.push("http://127.0.0.1/callback");
  return { kind, port: Number(port), made };
}

// Standard output has one line, which a test parses; whatever the libraries say goes to standard error.
console.info = console.error;
console.log = console.error;

const { kind, port, made } = options(process.argv.slice(2));
const { server, issuer } = await listen(port);
const { provider, shown } = await KINDS[kind](issuer, made);
serve(server, provider, shown);
process.stdout.write(`${JSON.stringify({ issuer, control: `${issuer}/_control`, ...shown })}\n`);

// A provider must not outlive its test, however that ends: the pipe closes with the process that holds it.
process.stdin
  .on("end", () => process.exit(0))
  .on("error", () => process.exit(0))
  .resume();
