// The kind `oidc`: three clients of one provider, which differ as providers do. `rotating` gives a new refresh token at
// each refresh and revokes the whole family when an old one comes back; `keeping` keeps its refresh token and gives it
// on the first consent only, as Google does; `asserting` has no secret but a key.
import { json } from "./http.mjs";
import { newKey, shownKey } from "./keys.mjs";
import { clientId } from "./log.mjs";
import { openid } from "./openid.mjs";

/** Characters that break Basic where a client does not form-encode its secret first (RFC 6749, 2.3.1). */
const ROTATING_SECRET = "p+a%s:s/w ord=&~!";
const KEEPING_SECRET = "keeping-secret-0123456789";

const PLACES = {
  "/.well-known/openid-configuration": "discovery",
  "/auth": "authorize",
  "/token": "token",
  "/token/revocation": "revoke",
  "/token/introspection": "introspect",
  "/me": "userinfo",
  "/jwks": "jwks",
};

/** Makes the provider; resolves to {provider, shown}, where `shown` is what the first line shows the test. */
export async function oidc(issuer, { redirects, jwk, secret }) {
  const made = jwk ? null : await newKey("ES256", "asserting");
  const common = {
    redirect_uris: redirects,
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  };
  const clients = [
    {
      client_id: "rotating",
      client_secret: secret ?? ROTATING_SECRET,
      token_endpoint_auth_method: "client_secret_basic",
    },
    { client_id: "keeping", client_secret: secret ?? KEEPING_SECRET, token_endpoint_auth_method: "client_secret_post" },
    {
      client_id: "asserting",
      token_endpoint_auth_method: "private_key_jwt",
      token_endpoint_auth_signing_alg: "ES256",
      id_token_signed_response_alg: "ES256",
      jwks: { keys: [jwk ? { kid: "asserting", ...jwk } : made.public_jwk] },
    },
  ];
  const byId = new Map(clients.map((client) => [client.client_id, { ...common, ...client }]));
  const provider = await openid(issuer, {
    clients: byId,
    paths: { authorization: "/auth", token: "/token", jwks: "/jwks" },
    places: (path) => PLACES[path],
    before: (request) => wrongPlace(request),
    configuration: {
      scopes: ["openid", "offline_access", "email", "profile", "calendar", "contacts"],
      pkce: { required: () => true },
      rotateRefreshToken: (ctx) => ctx.oidc.client.clientId !== "keeping",
      issueRefreshToken: (_ctx, client, code) => refreshable(provider, client.clientId, code),
      clientAuthMethods: ["client_secret_basic", "client_secret_post", "private_key_jwt"],
      enabledJWA: { clientAuthSigningAlgValues: ["ES256"], idTokenSigningAlgValues: ["RS256", "ES256"] },
      extraParams: ["access_type", "include_granted_scopes"],
      features: {
        devInteractions: { enabled: false },
        revocation: { enabled: true },
        introspection: { enabled: true },
      },
    },
    orders: {
      asserting_jwk: (key) => (byId.get("asserting").jwks = { keys: [{ kid: "asserting", ...key }] }),
      /** A secret that was changed at the provider: refreshes get `invalid_client` until ours follows. */
      client_secret: ({ client_id: id, secret: value }) => (byId.get(id).client_secret = value),
    },
  });
  const secrets = { rotating: byId.get("rotating").client_secret, keeping: byId.get("keeping").client_secret };
  return { provider, shown: { secrets, ...(made && (await shownKey(made))) } };
}

/** oidc-provider takes a secret in the header or in the body, whichever was registered. Many providers do not. */
function wrongPlace({ path, req, fields }) {
  const secrets = {
    rotating: ["client_secret_basic", fields.has("client_secret")],
    keeping: ["client_secret_post", "authorization" in req.headers],
  };
  const [registered, is_wrong] = secrets[clientId(req.headers, fields)] ?? [];
  if (!path.startsWith("/token") || !is_wrong) return null;
  const error_description = `the client is registered for ${registered}`;
  return json(401, { error: "invalid_client", error_description }, { "www-authenticate": "Basic" });
}

/** Whether a code brings a refresh token. */
function refreshable(provider, client, code) {
  if (code.scopes.has("offline_access")) return true;
  if (client !== "keeping") return false;
  const grant = provider.grants.find(({ grantId }) => grantId === code.grantId);
  const { access_type, prompt = "" } = grant.params;
  return access_type === "offline" && (grant.first || prompt.split(" ").includes("consent"));
}
