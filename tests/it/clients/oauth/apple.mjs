// The kind `apple`: what differs at Apple, around oidc-provider. Apple's client secret is a JWT that the client signs,
// its response is a cross-site POST, the user's name comes once and unsigned, and booleans are texts.
import { createHash } from "node:crypto";

import { importJWK, jwtVerify } from "jose";

import { json } from "./http.mjs";
import { newKey, shownKey } from "./keys.mjs";
import { openid } from "./openid.mjs";
import { hidden } from "./people.mjs";

/** Apple's longest life of a client secret: six months. */
const LONGEST_SECRET_S = 15_777_000;
/** What oidc-provider sees in place of the JWT once that was checked. */
const INNER_SECRET = "inner-secret-that-no-client-knows";
const PLACES = {
  "/.well-known/openid-configuration": "discovery",
  "/auth/authorize": "authorize",
  "/auth/token": "token",
  "/auth/revoke": "revoke",
  "/auth/keys": "jwks",
};

export async function apple(
  issuer,
  { redirects, jwk, team = "TEAM123456", key_id = "KEY1234567", client = "com.example.web" },
) {
  const made = jwk ? null : await newKey("ES256", key_id);
  const registered = { team, key_id, client, key: await importJWK(jwk ?? made.public_jwk, "ES256") };
  const clients = new Map([
    [
      client,
      {
        client_id: client,
        client_secret: INNER_SECRET,
        redirect_uris: redirects,
        token_endpoint_auth_method: "client_secret_post",
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
      },
    ],
  ]);
  const provider = await openid(issuer, {
    clients,
    algorithms: ["RS256"],
    denied: "user_cancelled_authorize",
    paths: { authorization: "/auth/authorize", token: "/auth/token", jwks: "/auth/keys" },
    places: (path) => PLACES[path],
    configuration: {
      scopes: ["openid", "email", "name"],
      claims: { openid: ["sub"], email: ["email", "email_verified", "is_private_email"] },
      routes: {
        authorization: "/auth/authorize",
        token: "/auth/token",
        revocation: "/auth/revoke",
        jwks: "/auth/keys",
      },
      pkce: { required: () => false },
      rotateRefreshToken: false,
      issueRefreshToken: () => true,
      clientAuthMethods: ["client_secret_post"],
      features: { devInteractions: { enabled: false }, revocation: { enabled: true }, userinfo: { enabled: false } },
    },
    before: (request) => before(issuer, registered, request),
    responded: (response, grant, people) => withUser(posting(response), grant, people),
    after: (request, response, keys) => after(request, response, keys),
    orders: { jwk: async (value) => (registered.key = await importJWK(value, "ES256")) },
  });
  return { provider, shown: { team, client, key_id, ...(made && (await shownKey(made))) } };
}

/** Checks what Apple checks before the provider sees the request. */
async function before(issuer, registered, request) {
  if (request.path === "/auth/authorize") return authorize(request);
  if (!["/auth/token", "/auth/revoke"].includes(request.path)) return null;
  const refused = await refusal(issuer, registered, request);
  if (refused) return json(400, { error: "invalid_client", error_description: refused });
  request.fields.set("client_secret", INNER_SECRET);
  request.body = Buffer.from(request.fields.toString());
  return null;
}

/** Name and e-mail are only ever posted; and every token response has an id_token, whether `openid` was asked for or not. */
function authorize(request) {
  const { searchParams } = request.url;
  const fields = request.req.method === "POST" ? request.fields : searchParams;
  const scopes = (fields.get("scope") ?? "").split(" ").filter(Boolean);
  const personal = scopes.includes("name") || scopes.includes("email");
  if (personal && fields.get("response_mode") !== "form_post") {
    const error_description = "response_mode must be form_post when name or email scope is requested.";
    return json(400, { error: "invalid_request", error_description });
  }
  fields.set("scope", ["openid", ...scopes.filter((scope) => scope !== "openid")].join(" "));
  request.req.url = request.url.pathname + request.url.search;
  if (request.req.method === "POST") request.body = Buffer.from(fields.toString());
  return null;
}

/** Why a client secret is refused, or null. */
async function refusal(issuer, { team, key_id, client, key }, { req, fields }) {
  if (req.headers.authorization) return "credentials belong into the body";
  if (fields.getAll("client_secret").length !== 1) return "one client_secret is required";
  if (fields.get("client_id") !== client) return "unknown client_id";
  try {
    const requiredClaims = ["iat", "exp"];
    const rules = { algorithms: ["ES256"], issuer: team, subject: client, audience: issuer, requiredClaims };
    const { payload, protectedHeader } = await jwtVerify(fields.get("client_secret"), key, rules);
    if (protectedHeader.kid !== key_id) return "unknown kid";
    if (payload.aud !== issuer) return "aud is one text";
    const ahead = payload.exp - Math.floor(Date.now() / 1000);
    return ahead > LONGEST_SECRET_S ? "exp is more than six months ahead" : null;
  } catch (error) {
    return error.message;
  }
}

/** A page that posts is 200, whatever it posts. */
function posting(response) {
  return response.body.includes("</form>") ? { ...response, status: 200 } : response;
}

/** The user's name and e-mail beside the code, on the first consent only, and not signed. */
function withUser(response, grant, people) {
  const posted = response.body.toString();
  if (!grant?.first || !posted.includes("</form>")) return response;
  const scopes = grant.params.scope.split(" ");
  const { name, email } = people.claims(grant.account);
  const [firstName, ...rest] = String(name).split(" ");
  const user = {};
  if (scopes.includes("name")) user.name = { firstName, lastName: rest.join(" ") || "Example" };
  if (scopes.includes("email")) user.email = email;
  if (!Object.keys(user).length) return response;
  return { ...response, body: posted.replace("</form>", `${hidden("user", JSON.stringify(user))}\n</form>`) };
}

/** Booleans as texts in the id_token, no `scope`, and no new refresh token at a refresh. */
async function after(request, response, keys) {
  if (request.path === "/auth/token" && response.status === 200) {
    const { scope: _scope, refresh_token, ...members } = JSON.parse(response.body);
    if (request.fields.get("grant_type") !== "refresh_token") members.refresh_token = refresh_token;
    if (members.id_token) members.id_token = await keys.sign(members.id_token, { claims: texts(members) });
    return { ...response, body: JSON.stringify(members) };
  }
  return null;
}

function texts({ id_token: token, access_token }) {
  const claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  const changed = { nonce_supported: true, at_hash: atHash(access_token) };
  if (claims.email_verified !== undefined) changed.email_verified = String(claims.email_verified);
  if (claims.email !== undefined)
    changed.is_private_email = String(claims.is_private_email ?? claims.email.endsWith("@privaterelay.appleid.com"));
  return changed;
}

/** What binds an access token to its id_token: half of its hash (OpenID Connect Core, 3.1.3.6). */
function atHash(token) {
  return createHash("sha256").update(token).digest().subarray(0, 16).toString("base64url");
}
