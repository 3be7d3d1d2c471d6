// The client's part against the kind `oidc`, as the checks share it.
import { randomBytes } from "node:crypto";

import { assertion, basic, follow, Jar, pkce, start, token } from "../walk.mjs";

export const CALLBACK = "http://127.0.0.1:1/v1/oauth/test/callback";

export async function oidcClient() {
  const op = await start("oidc", "--redirect", CALLBACK);
  const endpoint = `${op.issuer}/token`;

  /** The credentials of a client: {fields, headers}. */
  const credentials = async (client) => {
    if (client === "rotating") return { fields: {}, headers: { authorization: basic(client, op.secrets.rotating) } };
    if (client === "keeping") return { fields: { client_id: client, client_secret: op.secrets.keeping }, headers: {} };
    const claims = { kid: op.key_id, iss: client, sub: client, aud: op.issuer };
    const type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    const client_assertion = await assertion(op.private_key, claims);
    return { fields: { client_id: client, client_assertion_type: type, client_assertion }, headers: {} };
  };

  const call = async (client, fields) => {
    const own = await credentials(client);
    return token(endpoint, { ...own.fields, ...fields }, own.headers);
  };

  /** The authorization response, and what the exchange needs. */
  const authorize = async (client, extra = {}, jar = new Jar(), decision = null) => {
    const { verifier, challenge } = pkce();
    const given = {
      client_id: client,
      redirect_uri: CALLBACK,
      response_type: "code",
      scope: "openid email profile offline_access",
      prompt: "consent",
      state: randomBytes(8).toString("hex"),
      nonce: "n-1",
      code_challenge: challenge,
      code_challenge_method: "S256",
      login_hint: "ada",
      ...extra,
    };
    const known = Object.entries(given).filter(([, value]) => value !== null);
    const result = await follow(`${op.issuer}/auth?${new URLSearchParams(known)}`, CALLBACK, jar, decision);
    return { ...result, verifier, state: given.state };
  };

  const redeem = (client, { fields, verifier }) =>
    call(client, {
      grant_type: "authorization_code",
      code: fields.get("code"),
      redirect_uri: CALLBACK,
      code_verifier: verifier,
    });
  const refresh = (client, refresh_token) => call(client, { grant_type: "refresh_token", refresh_token });
  const connect = async (client, extra) => redeem(client, await authorize(client, extra));

  return { op, endpoint, call, authorize, redeem, refresh, connect };
}
