// The kind `apple`, whole.
import { generateKeyPairSync, randomBytes } from "node:crypto";

import { decodeJwt } from "jose";

import { assertion, basic, follow, Jar, start, token } from "../walk.mjs";
import { CALLBACK } from "./oidc.mjs";

export async function checkApple(check) {
  const apple = await start("apple", "--redirect", CALLBACK);
  const { issuer, team, client, key_id, private_key } = apple;
  const right = { kid: key_id, iss: team, sub: client, aud: issuer, seconds: 300 };
  const secret = (changes = {}, key = private_key) => assertion(key, { ...right, ...changes });

  const authorize = (extra = {}, decision = null) => {
    const given = {
      client_id: client,
      redirect_uri: CALLBACK,
      response_type: "code",
      scope: "name email",
      response_mode: "form_post",
    };
    const query = { ...given, state: "s-1", nonce: "n-1", login_hint: "ada", ...extra };
    const known = Object.entries(query).filter(([, value]) => value !== null);
    return follow(`${issuer}/auth/authorize?${new URLSearchParams(known)}`, CALLBACK, new Jar(), decision);
  };
  const call = async (fields, client_secret, headers = {}) =>
    token(
      `${issuer}/auth/token`,
      { client_id: client, client_secret: client_secret ?? (await secret()), ...fields },
      headers,
    );
  const redeem = (flow) =>
    call({ grant_type: "authorization_code", code: flow.fields.get("code"), redirect_uri: CALLBACK });

  const flow = await authorize();
  check("apple: the response is posted", [flow.how, flow.fields.get("state")], ["form_post", "s-1"]);
  check("apple: user on the first consent", JSON.parse(flow.fields.get("user")), {
    name: { firstName: "Ada", lastName: "Example" },
    email: "ada@example.com",
  });
  const first = await redeem(flow);
  check(
    "apple: tokens",
    [first.status, first.parsed.token_type, first.parsed.expires_in, "scope" in first.parsed],
    [200, "Bearer", 3600, false],
  );
  const claims = decodeJwt(first.parsed.id_token);
  const shown = [
    claims.iss,
    claims.aud,
    claims.sub,
    claims.email,
    claims.email_verified,
    claims.is_private_email,
    claims.nonce,
    claims.nonce_supported,
  ];
  check("apple: claims, booleans as texts", shown, [
    issuer,
    client,
    "ada",
    "ada@example.com",
    "true",
    "false",
    "n-1",
    true,
  ]);
  check("apple: no name in the id_token", "name" in claims, false);
  check("apple: a code is good once", (await redeem(flow)).parsed.error, "invalid_grant");

  const second = await authorize();
  check("apple: no user on the second consent", second.fields.has("user"), false);
  const tokens = (await redeem(second)).parsed;
  const refreshed = await call({ grant_type: "refresh_token", refresh_token: tokens.refresh_token });
  check(
    "apple: a refresh brings no refresh token",
    [refreshed.status, "refresh_token" in refreshed.parsed],
    [200, false],
  );
  check(
    "apple: the old one stays good",
    (await call({ grant_type: "refresh_token", refresh_token: tokens.refresh_token })).status,
    200,
  );

  check("apple: name or email require form_post", (await authorize({ response_mode: "query" })).status, 400);
  check("apple: no scope, no form_post", (await authorize({ scope: null, response_mode: null })).how, "query");
  const denied = await authorize({ login_hint: null }, { decision: "deny" });
  check("apple: denial in its own word", denied.fields.get("error"), "user_cancelled_authorize");

  const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
    type: "pkcs8",
    format: "pem",
  });
  const wrong = {
    "another key": await secret({}, stranger),
    "another kid": await secret({ kid: "OTHER" }),
    "another team": await secret({ iss: "OTHER" }),
    "another sub": await secret({ sub: "other" }),
    "another aud": await secret({ aud: "https://other.example" }),
    "seven months": await secret({ seconds: 15_777_000 + 60 }),
    "it has expired": await secret({ seconds: -60 }),
    "no JWT": randomBytes(20).toString("hex"),
  };
  const refresh = { grant_type: "refresh_token", refresh_token: tokens.refresh_token };
  for (const [name, client_secret] of Object.entries(wrong)) {
    const { status, parsed } = await call(refresh, client_secret);
    check(`apple: a client secret is refused: ${name}`, [status, parsed.error], [400, "invalid_client"]);
  }
  check("apple: six months are accepted", (await call(refresh, await secret({ seconds: 15_776_990 }))).status, 200);
  const header = { authorization: basic(client, await secret()) };
  const inHeader = await token(`${issuer}/auth/token`, refresh, header);
  check("apple: Basic is refused", [inHeader.status, inHeader.parsed.error], [400, "invalid_client"]);

  const revoke = {
    client_id: client,
    client_secret: await secret(),
    token: tokens.refresh_token,
    token_type_hint: "refresh_token",
  };
  check(
    "apple: revoke",
    [(await token(`${issuer}/auth/revoke`, revoke)).status, (await call(refresh)).parsed.error],
    [200, "invalid_grant"],
  );
  const keys = await (await fetch(`${issuer}/auth/keys`)).json();
  check(
    "apple: keys",
    keys.keys.map(({ alg }) => alg),
    ["RS256"],
  );
  await apple.control({ revoke: { account: "ada" } });
  check("apple: after the user took it back, user comes again", (await authorize()).fields.has("user"));
  check(
    "apple: the log names places",
    [...new Set((await apple.log()).map(({ place }) => place))],
    ["authorize", "token", "revoke", "jwks"],
  );
  await apple.stop();
}
