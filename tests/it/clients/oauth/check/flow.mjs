// The kind `oidc`: the code flow, client authentication, refreshes and revocation.
import { decodeJwt } from "jose";

import { basic, Jar, token } from "../walk.mjs";
import { oidcClient } from "./oidc.mjs";

export async function checkFlow(check) {
  const { op, endpoint, call, authorize, redeem, refresh, connect } = await oidcClient();

  const flow = await authorize("rotating");
  check("the flow takes three requests", flow.steps, [
    "GET /auth 303",
    "GET /interaction/UID 303",
    "GET /auth/UID 303",
  ]);
  check("state comes back", flow.fields.get("state"), flow.state);
  check("iss comes back (RFC 9207)", flow.fields.get("iss"), op.issuer);
  const first = await redeem("rotating", flow);
  check("a code gives tokens", [first.status, first.parsed.token_type, first.parsed.expires_in], [200, "Bearer", 3600]);
  const claims = decodeJwt(first.parsed.id_token);
  check(
    "claims of the id_token",
    [claims.sub, claims.email, claims.email_verified, claims.name, claims.nonce],
    ["ada", "ada@example.com", true, "Ada", "n-1"],
  );
  const me = await fetch(`${op.issuer}/me`, { headers: { authorization: `Bearer ${first.parsed.access_token}` } });
  check("userinfo", [me.status, (await me.json()).sub], [200, "ada"]);

  const again = await redeem("rotating", flow);
  check("a code is good once", [again.status, again.parsed.error], [400, "invalid_grant"]);
  check(
    "a second redemption kills the first tokens",
    (await refresh("rotating", first.parsed.refresh_token)).status,
    400,
  );

  const started = (await connect("rotating")).parsed.refresh_token;
  const both = await Promise.all([refresh("rotating", started), refresh("rotating", started)]);
  check("a race of two refreshes: one wins", both.map(({ status }) => status).sort(), [200, 400]);
  const winner = both.find(({ status }) => status === 200).parsed.refresh_token;
  check("and the winner's new token is dead too", (await refresh("rotating", winner)).parsed.error, "invalid_grant");

  const jar = new Jar();
  const google = { scope: "openid email", access_type: "offline", prompt: null };
  const kept = (await redeem("keeping", await authorize("keeping", google, jar))).parsed;
  check("keeping gives a refresh token for access_type=offline", typeof kept.refresh_token, "string");
  const refreshed = await refresh("keeping", kept.refresh_token);
  check(
    "keeping keeps its refresh token",
    [refreshed.status, refreshed.parsed.refresh_token],
    [200, kept.refresh_token],
  );
  const second = (await redeem("keeping", await authorize("keeping", google, jar))).parsed;
  check("a second consent brings none", second.refresh_token, undefined);
  const third = (await redeem("keeping", await authorize("keeping", { ...google, prompt: "consent" }, jar))).parsed;
  check("unless prompt=consent", typeof third.refresh_token, "string");
  const other = await redeem("keeping", await authorize("keeping", { ...google, login_hint: "bob" }, jar));
  check("the same browser signs in with another account", decodeJwt(other.parsed.id_token).sub, "bob");

  const asserted = await connect("asserting");
  check("private_key_jwt is accepted", asserted.status, 200);
  check("and refreshes", (await refresh("asserting", asserted.parsed.refresh_token)).status, 200);

  const raw = `Basic ${Buffer.from(`rotating:${op.secrets.rotating}`).toString("base64")}`;
  const body = { grant_type: "refresh_token", refresh_token: "x" };
  check("Basic without form-encoding is refused", (await token(endpoint, body, { authorization: raw })).status >= 400);
  const wrong = await token(endpoint, body, { authorization: basic("rotating", "wrong") });
  check("a wrong secret is refused", [wrong.status, wrong.parsed.error], [401, "invalid_client"]);
  const posted = await token(endpoint, { ...body, client_id: "rotating", client_secret: op.secrets.rotating });
  check("rotating takes no secret in the body", [posted.status, posted.parsed.error], [401, "invalid_client"]);

  const bare = await authorize("rotating", { code_challenge: null, code_challenge_method: null });
  check("PKCE is required", bare.fields.get("error"), "invalid_request");
  const plain = await authorize("rotating", { code_challenge_method: "plain" });
  check("PKCE is S256", plain.fields?.get("error"), "invalid_request");
  const taken = await authorize("rotating");
  check(
    "the verifier counts",
    (await redeem("rotating", { ...taken, verifier: "x".repeat(43) })).parsed.error,
    "invalid_grant",
  );
  const stranger = await authorize("rotating", { redirect_uri: "http://127.0.0.1:1/other" });
  check("the redirect URI is exact", [stranger.how, stranger.status], ["page", 400]);
  const cross = await authorize("rotating");
  check("another client's code is refused", (await redeem("keeping", cross)).parsed.error, "invalid_grant");

  const posting = await authorize("rotating", { response_mode: "form_post" });
  check("form_post", [posting.how, posting.fields.get("state")], ["form_post", posting.state]);
  const paged = await authorize("rotating", { login_hint: null }, new Jar(), { account: "eve", decision: "allow" });
  check("without login_hint there is a page", paged.steps[2], "POST /interaction/UID 303");
  check("whose account counts", decodeJwt((await redeem("rotating", paged)).parsed.id_token).sub, "eve");
  const denied = await authorize("rotating", { login_hint: null }, new Jar(), { decision: "deny" });
  check("and whose denial", denied.fields.get("error"), "access_denied");

  const alive = (await connect("rotating")).parsed;
  const revoke = await fetch(`${op.issuer}/token/revocation`, {
    method: "POST",
    body: new URLSearchParams({ token: alive.refresh_token }),
    headers: { authorization: basic("rotating", op.secrets.rotating) },
  });
  check("revocation (RFC 7009)", [revoke.status, (await refresh("rotating", alive.refresh_token)).status], [200, 400]);
  const introspected = await fetch(`${op.issuer}/token/introspection`, {
    method: "POST",
    body: new URLSearchParams({ token: (await connect("rotating")).parsed.access_token }),
    headers: { authorization: basic("rotating", op.secrets.rotating) },
  });
  check("introspection", (await introspected.json()).active);
  check("an unknown grant type is refused", (await call("rotating", { grant_type: "password" })).status, 400);
  await op.stop();
}
