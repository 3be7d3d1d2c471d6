// The kind `plain`: each shape through a whole grant.
import { basic, follow, Jar, pkce, start, token } from "../walk.mjs";
import { CALLBACK } from "./oidc.mjs";

/** What each shape gives: members of the first response, status and words of a refused refresh. */
const SHAPES = {
  standard: [["access_token", "refresh_token", "token_type", "expires_in", "scope"], 400, "invalid_grant"],
  rotating: [["access_token", "refresh_token", "token_type", "expires_in", "scope"], 400, "invalid_grant"],
  github: [["access_token", "scope", "token_type"], 200, "bad_refresh_token"],
  slack: [
    ["ok", "access_token", "token_type", "scope", "expires_in", "refresh_token", "team", "authed_user"],
    200,
    "invalid_refresh_token",
  ],
  salesforce: [
    ["access_token", "refresh_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at"],
    400,
    "invalid_grant",
  ],
  linkedin: [
    ["access_token", "expires_in", "refresh_token", "refresh_token_expires_in", "scope"],
    400,
    "invalid_grant",
  ],
  linkedin_short: [["access_token", "expires_in", "scope"], 400, "invalid_grant"],
  hubspot: [["token_type", "refresh_token", "access_token", "expires_in"], 400, undefined],
};
const ACCEPT = { accept: "application/json" };

export async function checkPlain(check) {
  const op = await start("plain", "--redirect", CALLBACK);
  const secret = op.secrets.plain;
  const post = (fields, headers = ACCEPT) =>
    token(`${op.issuer}/token`, { client_id: "plain", client_secret: secret, ...fields }, headers);
  const authorize = async (extra = {}) => {
    const query = {
      client_id: "plain",
      redirect_uri: CALLBACK,
      response_type: "code",
      scope: "read write",
      state: "s-1",
      login_hint: "ada",
      ...extra,
    };
    return (await follow(`${op.issuer}/authorize?${new URLSearchParams(query)}`, CALLBACK, new Jar())).fields;
  };
  const redeem = (code, extra = {}) =>
    post({ grant_type: "authorization_code", code, redirect_uri: CALLBACK, ...extra });

  for (const [shape, [members, status, error]] of Object.entries(SHAPES)) {
    await op.control({ shape });
    const { parsed } = await redeem((await authorize()).get("code"));
    check(`plain: ${shape}`, Object.keys(parsed), members);
    const me = await fetch(`${op.issuer}/userinfo`, { headers: { authorization: `Bearer ${parsed.access_token}` } });
    check(`plain: ${shape}: userinfo`, me.status, 200);
    const refused = await post({ grant_type: "refresh_token", refresh_token: "wrong" });
    check(`plain: ${shape}: a refresh is refused`, [refused.status, refused.parsed.error], [status, error]);
    if (!parsed.refresh_token) continue;
    const again = await post({ grant_type: "refresh_token", refresh_token: parsed.refresh_token });
    check(`plain: ${shape}: a refresh`, again.status, 200);
    await fetch(`${op.issuer}/revoke`, { method: "POST", body: new URLSearchParams({ token: parsed.refresh_token }) });
    const dead = await post({
      grant_type: "refresh_token",
      refresh_token: again.parsed.refresh_token ?? parsed.refresh_token,
    });
    check(`plain: ${shape}: revoked`, [dead.status, dead.parsed.error], [status, error]);
  }

  await op.control({ shape: "github" });
  const bare = await post({ code: (await authorize()).get("code"), redirect_uri: CALLBACK }, {});
  check("plain: github sends a form unless asked", bare.type, "application/x-www-form-urlencoded; charset=utf-8");
  await op.control({ shape: "linkedin" });
  const { verifier, challenge } = pkce();
  const code = (await authorize({ code_challenge: challenge, code_challenge_method: "S256" })).get("code");
  check(
    "plain: linkedin refuses a verifier",
    (await redeem(code, { code_verifier: verifier })).parsed.error,
    "invalid_client",
  );
  const inHeader = { grant_type: "refresh_token", refresh_token: "x" };
  const headers = { authorization: basic("plain", secret) };
  check(
    "plain: linkedin refuses Basic",
    (await token(`${op.issuer}/token`, inHeader, headers)).parsed.error,
    "invalid_client",
  );
  await op.control({ next_authorization: { error: "user_cancelled_login" } });
  check("plain: linkedin's denial", (await authorize()).get("error"), "user_cancelled_login");

  await op.control({ shape: "standard" });
  check(
    "plain: standard takes Basic",
    (await token(`${op.issuer}/token`, inHeader, headers)).parsed.error,
    "invalid_grant",
  );
  const guarded = (await authorize({ code_challenge: challenge, code_challenge_method: "S256" })).get("code");
  check(
    "plain: the verifier counts",
    (await redeem(guarded, { code_verifier: "wrong" })).parsed.error,
    "invalid_grant",
  );
  const once = (await authorize()).get("code");
  check("plain: a code is good once", [(await redeem(once)).status, (await redeem(once)).status], [200, 400]);
  const { parsed } = await redeem((await authorize()).get("code"));
  await op.control({ revoke: { account: "ada" } });
  check(
    "plain: control revokes",
    (await post({ grant_type: "refresh_token", refresh_token: parsed.refresh_token })).status,
    400,
  );
  await op.control({ fault: "drop" });
  check(
    "plain: faults",
    await post(inHeader).then(
      () => "arrived",
      () => "lost",
    ),
    "lost",
  );
  await op.stop();
}
