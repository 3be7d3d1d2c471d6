// The shapes of token responses that providers without OpenID Connect give. Each row has what a client stumbles over:
// `granted` and `refused` make the response, `person` the account; the flags say what the token endpoint insists on.
import { createHash } from "node:crypto";

import { json } from "./http.mjs";

const YEAR_S = 365 * 86_400;

/** The number of an account, where the provider has numbers. */
function numbered(account) {
  return createHash("sha256").update(account).digest().readUInt32BE(0);
}

const standard = {
  granted: ({ access_token, refresh_token, seconds, grant }) =>
    json(200, {
      access_token,
      refresh_token,
      token_type: "Bearer",
      expires_in: seconds,
      scope: grant.scopes.join(" "),
    }),
  refused: (error) =>
    json(error === "invalid_client" ? 401 : 400, {
      error: error === "invalid_refresh_token" ? "invalid_grant" : error,
    }),
  person: (claims) => claims,
};

/** What GitHub calls an error of ours. */
const GITHUB_WORDS = {
  invalid_grant: "bad_verification_code",
  invalid_client: "incorrect_client_credentials",
  invalid_refresh_token: "bad_refresh_token",
};

export const SHAPES = {
  standard,
  rotating: { ...standard, rotates: true },
  /** Each refresh brings a new refresh token, beside the old one (Microsoft). */
  renewing: { ...standard, renews: true },
  /** Errors with status 200; a form unless JSON is asked for; commas; a token that never ends and has no refresh. */
  github: {
    no_grant_type: true,
    granted: ({ access_token, grant }, req) =>
      formOrJson(req, { access_token, scope: grant.scopes.join(","), token_type: "bearer" }),
    refused: (error, req) =>
      formOrJson(req, { error: GITHUB_WORDS[error] ?? error, error_description: "The request was refused." }),
    person: ({ sub, name }) => ({ id: numbered(sub), login: sub, name, email: null }),
    revoked: { status: 204, headers: {}, body: "" },
  },
  /** Errors with status 200 and `ok: false`; refresh tokens rotate. */
  slack: {
    rotates: true,
    no_grant_type: true,
    granted: ({ access_token, refresh_token, seconds, grant }) =>
      json(200, {
        ok: true,
        access_token,
        token_type: "bot",
        scope: grant.scopes.join(","),
        expires_in: seconds,
        refresh_token,
        team: { id: "T0123456789", name: "Example" },
        authed_user: { id: `U${numbered(grant.account)}` },
      }),
    refused: (error) =>
      json(200, {
        ok: false,
        error: { invalid_grant: "invalid_code", invalid_client: "bad_client_secret" }[error] ?? error,
      }),
    person: ({ sub, name, email }) => ({
      ok: true,
      sub: `U${numbered(sub)}`,
      name,
      email,
      "https://slack.com/team_id": "T0123456789",
    }),
    revoked: json(200, { ok: true, revoked: true }),
  },
  /** No `expires_in`; the API's host comes with the token; a refresh brings no refresh token. */
  salesforce: {
    ...standard,
    granted: ({ access_token, refresh_token, refreshed, grant, issuer }) =>
      json(200, {
        access_token,
        ...(refreshed ? {} : { refresh_token }),
        signature: "c2lnbmF0dXJl",
        scope: grant.scopes.join(" "),
        instance_url: "https://example.my.salesforce.com",
        id: `${issuer}/id/00D000000000001/${numbered(grant.account)}`,
        token_type: "Bearer",
        issued_at: String(Date.now()),
      }),
    refused: (error) =>
      json(400, {
        error: error === "invalid_refresh_token" ? "invalid_grant" : error,
        error_description: "expired access/refresh token",
      }),
  },
  /** No `token_type`; credentials in the body; a verifier is refused; the refresh token's end does not move. */
  linkedin: {
    ...standard,
    body_only: true,
    no_pkce: true,
    denied: "user_cancelled_authorize",
    granted: ({ access_token, refresh_token, seconds, grant }) =>
      json(200, {
        access_token,
        expires_in: seconds,
        refresh_token,
        refresh_token_expires_in: YEAR_S - Math.floor((Date.now() - grant.since) / 1000),
        scope: grant.scopes.join(","),
      }),
  },
  /** LinkedIn for those who are no partners: no refresh token at all. */
  linkedin_short: {
    ...standard,
    body_only: true,
    no_pkce: true,
    denied: "user_cancelled_login",
    granted: ({ access_token, seconds, grant }) =>
      json(200, { access_token, expires_in: seconds, scope: grant.scopes.join(",") }),
  },
  /** Errors in words of its own, without `error`; no scope in the response. */
  hubspot: {
    ...standard,
    body_only: true,
    granted: ({ access_token, refresh_token, seconds }) =>
      json(200, { token_type: "bearer", refresh_token, access_token, expires_in: seconds }),
    refused: (error) => {
      const words = {
        invalid_grant: "BAD_AUTH_CODE",
        invalid_client: "BAD_CLIENT_SECRET",
        invalid_refresh_token: "BAD_REFRESH_TOKEN",
      };
      return json(400, {
        status: words[error] ?? "BAD_REQUEST",
        message: "missing or invalid",
        correlationId: "00000000-0000-4000-8000-000000000000",
      });
    },
    person: ({ sub, email }) => ({ user_id: numbered(sub), user: email, hub_id: 1_234_567 }),
  },
};

/** GitHub responds with a form unless the client asks for JSON. */
function formOrJson(req, members) {
  if (/json/.test(req.headers.accept ?? "")) return json(200, members);
  const type = "application/x-www-form-urlencoded; charset=utf-8";
  return {
    status: 200,
    headers: { "content-type": type, "cache-control": "no-store" },
    body: new URLSearchParams(members).toString(),
  };
}
