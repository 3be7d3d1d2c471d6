// The kind `oidc` when it is made to fail, and what control and log say.
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";

import { sha256 } from "../log.mjs";
import { oidcClient } from "./oidc.mjs";

export async function checkFaults(check) {
  const client = await oidcClient();
  const { op, authorize, redeem, refresh, connect } = client;
  let live = (await connect("keeping")).parsed.refresh_token;
  const keep = () => refresh("keeping", live);
  const under = async (fault) => {
    await op.control(fault);
    return keep();
  };

  const html = await under({ fault: "html502" });
  check("html502", [html.status, html.type], [502, "text/html"]);
  const limited = await under({ fault: "status", status: 429, headers: { "retry-after": "7" }, body: "slow down" });
  check("status", [limited.status, limited.headers.get("retry-after"), limited.text], [429, "7", "slow down"]);
  const error = await under({ fault: "json_error", status: 400, body: { error: "invalid_token" } });
  check("json_error", [error.status, error.parsed.error], [400, "invalid_token"]);
  const empty = await under({ fault: "empty" });
  check("empty", [empty.status, empty.text], [200, ""]);
  const formed = await under({ fault: "form" });
  check(
    "form",
    [formed.type, new URLSearchParams(formed.text).has("access_token")],
    ["application/x-www-form-urlencoded; charset=utf-8", true],
  );
  check("no_expires", (await under({ fault: "no_expires" })).parsed.expires_in, undefined);
  check("string_expires", (await under({ fault: "string_expires" })).parsed.expires_in, "3600");
  check("no_token_type", (await under({ fault: "no_token_type" })).parsed.token_type, undefined);
  check("no_refresh_token", (await under({ fault: "no_refresh_token" })).parsed.refresh_token, undefined);
  check(
    "edit",
    (await under({ fault: "edit", set: { refresh_token: "" }, remove: ["scope"] })).parsed.refresh_token,
    "",
  );
  check("text_json", (await under({ fault: "text_json" })).type, "text/javascript; charset=utf-8");
  check("created", (await under({ fault: "created" })).status, 201);
  const zipped = await under({ fault: "gzip" });
  check("gzip", [zipped.headers.get("content-encoding"), typeof zipped.parsed.access_token], ["gzip", "string"]);
  check("huge", (await under({ fault: "huge" })).text.length > 1_000_000);
  const two = await under({ fault: ["created", "no_expires"] });
  check("two faults at once", [two.status, two.parsed.expires_in], [201, undefined]);
  const before = Date.now();
  await under({ fault: "slow", ms: 300 });
  check("slow", Date.now() - before >= 300);
  const patience = AbortSignal.timeout(300);
  await op.control({ fault: "hang" });
  const hung = fetch(client.endpoint, {
    method: "POST",
    body: new URLSearchParams({ grant_type: "refresh_token" }),
    signal: patience,
  });
  check(
    "hang",
    await hung.then(
      () => "arrived",
      (failure) => failure.name,
    ),
    "TimeoutError",
  );
  await op.control({ fault: "truncate" });
  check(
    "truncate",
    await keep().then(
      () => "whole",
      () => "cut",
    ),
    "cut",
  );
  await op.control({ fault: "html502", times: 2 });
  check(
    "a fault counts its requests",
    [(await keep()).status, (await keep()).status, (await keep()).status],
    [502, 502, 200],
  );
  await op.control({ fault: "html502", times: "all", grant_type: "authorization_code" });
  check("a fault of one grant type", [(await connect("keeping")).status, (await keep()).status], [502, 200]);
  await op.control({ fault: null });
  check("faults are forgotten", (await connect("keeping")).status, 200);
  await op.control({ fault: "html502", on: "jwks" });
  const keys = async () => (await fetch(`${op.issuer}/jwks`)).status;
  check("a fault of the keys", [await keys(), await keys()], [502, 200]);
  check(
    "an unknown fault is refused",
    await op.control({ fault: "typo" }).then(
      () => "taken",
      () => "refused",
    ),
    "refused",
  );

  const lost = (await connect("rotating")).parsed.refresh_token;
  await op.control({ fault: "drop" });
  check(
    "drop: no response arrives",
    await refresh("rotating", lost).then(
      () => "arrived",
      () => "lost",
    ),
    "lost",
  );
  check(
    "drop: it was processed, and a retry is a reuse",
    (await refresh("rotating", lost)).parsed.error,
    "invalid_grant",
  );
  const gone = (await connect("rotating")).parsed.refresh_token;
  await op.control({ fault: "html502", processed: true });
  check(
    "html502 after it was processed",
    [(await refresh("rotating", gone)).status, (await refresh("rotating", gone)).status],
    [502, 400],
  );

  await idTokens(check, client);

  await op.control({ access_token_seconds: 2 });
  const short = (await keep()).parsed;
  check("access_token_seconds", short.expires_in, 2);
  await op.control({ access_token_seconds: null });
  await op.control({ next_authorization: { error: "access_denied" } });
  check("the next authorization is denied", (await authorize("rotating")).fields.get("error"), "access_denied");
  await op.control({ next_authorization: { iss: null } });
  check("iss is left out", (await authorize("rotating")).fields.has("iss"), false);
  await op.control({ next_authorization: { iss: "https://evil.example" } });
  check(
    "iss is another's",
    (await authorize("rotating", { response_mode: "form_post" })).fields.get("iss"),
    "https://evil.example",
  );
  await op.control({ next_authorization: { scopes: ["email"] } });
  const granted = await connect("keeping", { scope: "openid email calendar", access_type: "offline" });
  check("fewer scopes are granted", granted.parsed.scope, "openid email");
  await op.control({ next_authorization: { account: "carol" } });
  check("the account is set", decodeJwt((await connect("keeping")).parsed.id_token).sub, "carol");

  live = (await connect("keeping", { login_hint: "dave" })).parsed.refresh_token;
  await op.control({ revoke: { account: "dave" } });
  check("a revoked grant is dead", [(await keep()).status, (await keep()).parsed.error], [400, "invalid_grant"]);
  const entries = (await op.log()).filter(({ refresh_token_sha256 }) => refresh_token_sha256 === sha256(live));
  const [{ grant_type, client_auth, client_id, status, parameters }] = entries;
  check(
    "the log counts",
    [entries.length, grant_type, client_auth, client_id, status],
    [2, "refresh_token", "post", "keeping", 400],
  );
  check("and names parameters", parameters, ["client_id", "client_secret", "grant_type", "refresh_token"]);
  check("without secrets", JSON.stringify(await op.log()).includes(op.secrets.keeping), false);
  await op.stop();
}

/** Wrong id_tokens are signed with the right key, but for those that are about the signature. */
async function idTokens(check, { op, redeem, authorize, connect }) {
  const jwks = () => createRemoteJWKSet(new URL(`${op.issuer}/jwks`));
  const verified = (token, keys = jwks()) =>
    jwtVerify(token, keys, { currentDate: new Date(0) }).then(
      () => "verified",
      (failure) => failure.code,
    );
  const tampered = async (fault, client = "rotating") => {
    const flow = await authorize(client);
    await op.control({ fault: "id_token", ...fault });
    return (await redeem(client, flow)).parsed.id_token;
  };
  const rows = [
    ["wrong nonce", { claims: { nonce: "other" } }, (claims) => claims.nonce === "other"],
    ["no nonce", { claims: { nonce: null } }, (claims) => !("nonce" in claims)],
    ["wrong iss", { claims: { iss: "https://evil.example" } }, (claims) => claims.iss === "https://evil.example"],
    ["wrong aud", { claims: { aud: "other" } }, (claims) => claims.aud === "other"],
    ["two audiences", { claims: { aud: ["rotating", "x"], azp: "rotating" } }, (claims) => claims.aud.length === 2],
    ["expired", { shift: { exp: -7200 } }, (claims) => claims.exp < claims.iat],
    ["iat ahead", { shift: { iat: 600 } }, (claims) => claims.iat > Date.now() / 1000 + 500],
  ];
  for (const [name, fault, fits] of rows) {
    const token = await tampered(fault);
    check(`id_token: ${name}, well signed`, [fits(decodeJwt(token)), await verified(token)], [true, "verified"]);
  }
  const none = await tampered({ header: { alg: "none" } });
  check("id_token: alg none", [decodeProtectedHeader(none).alg, none.endsWith(".")], ["none", true]);
  check(
    "id_token: HS256 with the public key",
    decodeProtectedHeader(await tampered({ header: { alg: "HS256" } })).alg,
    "HS256",
  );
  check("id_token: no kid", "kid" in decodeProtectedHeader(await tampered({ header: { kid: null } })), false);
  check(
    "id_token: bad signature",
    await verified(await tampered({ signature: "bad" })),
    "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  );
  check(
    "id_token: another key",
    await verified(await tampered({ key: "other" })),
    "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
  );
  check("id_token: ES256", decodeProtectedHeader(await tampered({}, "asserting")).alg, "ES256");
  check(
    "id_token: left out",
    await (async () => {
      await op.control({ fault: "edit", remove: ["id_token"] });
      return (await connect("rotating")).parsed.id_token;
    })(),
    undefined,
  );

  const published = async () =>
    (await (await fetch(`${op.issuer}/jwks`)).json()).keys.find(({ alg }) => alg === "RS256");
  const before = await published();
  for (const [how, same] of [
    ["same_kid", true],
    ["new_kid", false],
  ]) {
    await op.control({ rotate_keys: how });
    const now = await published();
    check(`${how}: the key is another`, [now.kid === before.kid, now.n === before.n], [same, false]);
    check(`${how}: new id_tokens verify`, await verified((await connect("rotating")).parsed.id_token), "verified");
  }
}
