// The kind `plain`: OAuth 2 without OpenID Connect, in the shapes of providers that differ from the standard. Its own
// rules are few but strict: a code is good once, for its client, its redirect URI and its verifier.
import { createHash, randomBytes } from "node:crypto";

import { consentPage, json, page } from "./http.mjs";
import { alterIss, People } from "./people.mjs";
import { SHAPES } from "./shapes.mjs";

const SECRET = "p+a%s:s/w ord=&~!";
const PLACES = { "/authorize": "authorize", "/token": "token", "/revoke": "revoke", "/userinfo": "userinfo" };

export async function plain(issuer, { redirects, client = "plain", secret = SECRET }) {
  const provider = new Plain(issuer, redirects, client, secret);
  return { provider, shown: { client, secrets: { [client]: secret }, shapes: Object.keys(SHAPES) } };
}

const random = () => randomBytes(24).toString("base64url");
/** Both halves of Basic are form-encoded before they are joined (RFC 6749, 2.3.1). */
const decoded = (text) => decodeURIComponent(text.replaceAll("+", "%20"));

class Plain {
  keys = { sign: (token) => token };
  people = new People();
  settings = { shape: "standard", access_token_seconds: 3600 };
  #codes = new Map();
  #refresh = new Map();
  #access = new Map();
  #grants = [];
  #waiting = new Map();

  constructor(issuer, redirects, client, secret) {
    Object.assign(this, { issuer, redirects, client, secret });
    this.orders = {
      ...this.people.orders(),
      access_token_seconds: (seconds) => (this.settings.access_token_seconds = seconds ?? 3600),
      redirects: (uris) => (this.redirects = uris),
      client_secret: ({ secret: value }) => (this.secret = value),
      revoke: ({ account }) =>
        this.#grants.filter((grant) => grant.account === account).forEach((grant) => (grant.dead = true)),
      shape: (name) => {
        if (!SHAPES[name]) throw new Error(`unknown shape: ${name}`);
        this.settings.shape = name;
      },
    };
  }

  places(path) {
    return PLACES[path] ?? (path.startsWith("/applications/") ? "revoke" : undefined);
  }

  get shape() {
    return SHAPES[this.settings.shape];
  }

  async handle(req, _res, request) {
    const { path } = request;
    if (path === "/authorize") return this.#authorize(req, request);
    if (path === "/token" && req.method === "POST") return this.#token(req, request.fields);
    if (path === "/userinfo") return this.#userinfo(req);
    if (path === "/revoke" || path.startsWith("/applications/")) return this.#revoke(req, request);
    return json(404, { error: "not_found" });
  }

  /** GET goes on at once where the account is known and shows the page otherwise; POST is what the page sends. */
  #authorize(req, { url, fields }) {
    const asked = Object.fromEntries(url.searchParams);
    if (asked.client_id !== this.client || !this.redirects.includes(asked.redirect_uri)) {
      return page(400, "Error", "<p>unknown client or redirect URI</p>");
    }
    if (asked.response_type !== "code") return this.#back(asked, { error: "unsupported_response_type" });
    const next = this.#waiting.get(url.search) ?? this.people.take();
    const denied = next.error ?? this.shape.denied ?? "access_denied";
    let decision = this.people.decide(next, asked.login_hint);
    if (req.method === "POST") {
      decision =
        fields.get("decision") === "allow"
          ? { ...next, account: fields.get("account"), error: undefined }
          : { ...next, error: denied };
    }
    if (!decision) {
      this.#waiting.set(url.search, next);
      return consentPage(url.pathname + url.search, asked.client_id, asked.scope ?? "", asked.login_hint);
    }
    this.#waiting.delete(url.search);
    if (decision.error) return this.#back(asked, { error: denied, error_description: "the user said no" }, next);
    const scopes = (asked.scope ?? "").split(/[ ,]+/).filter(Boolean);
    const granted = scopes.filter((scope) => !next.scopes || next.scopes.includes(scope));
    const code = random();
    const grant = { account: decision.account, scopes: granted, dead: false, since: Date.now() };
    this.#grants.push(grant);
    this.#codes.set(code, { grant, asked, until: Date.now() + 600_000 });
    return this.#back(asked, { code }, next);
  }

  #back(asked, fields, next = {}) {
    const location = new URL(asked.redirect_uri);
    for (const [name, value] of Object.entries(fields)) location.searchParams.set(name, value);
    if (asked.state !== undefined) location.searchParams.set("state", asked.state);
    return alterIss({ status: 302, headers: { location: location.href }, body: "" }, next.iss);
  }

  #token(req, fields) {
    const refuse = (error) => this.shape.refused(error, req);
    const presented = this.#credentials(req, fields);
    if (presented.error) return refuse(presented.error);
    if (fields.get("grant_type") === "authorization_code") return this.#redeem(req, fields, refuse);
    // GitHub and others leave grant_type out of the first call.
    if (!fields.has("grant_type") && fields.has("code") && this.shape.no_grant_type)
      return this.#redeem(req, fields, refuse);
    if (fields.get("grant_type") !== "refresh_token") return refuse("unsupported_grant_type");
    const token = fields.get("refresh_token");
    const kept = this.#refresh.get(token);
    if (!kept || kept.dead || kept.grant.dead) return refuse("invalid_refresh_token");
    if (this.shape.rotates) this.#refresh.get(token).dead = true;
    return this.#granted(kept.grant, req, this.shape.rotates || this.shape.renews ? undefined : token);
  }

  #redeem(req, fields, refuse) {
    const kept = this.#codes.get(fields.get("code"));
    if (!kept || kept.used || kept.until < Date.now()) {
      if (kept) kept.grant.dead = true;
      return refuse("invalid_grant");
    }
    kept.used = true;
    const { asked, grant } = kept;
    if (fields.get("redirect_uri") !== asked.redirect_uri) return refuse("redirect_uri_mismatch");
    // LinkedIn takes an unexpected verifier for a wrong client.
    if (this.shape.no_pkce && fields.has("code_verifier")) return refuse("invalid_client");
    if (!this.shape.no_pkce && asked.code_challenge !== undefined) {
      const made = createHash("sha256")
        .update(fields.get("code_verifier") ?? "")
        .digest("base64url");
      if (asked.code_challenge_method !== "S256" || made !== asked.code_challenge) return refuse("invalid_grant");
    }
    return this.#granted(grant, req);
  }

  #granted(grant, req, presented) {
    const access_token = random();
    const { access_token_seconds: seconds } = this.settings;
    this.#access.set(access_token, { grant, until: Date.now() + seconds * 1000 });
    let refresh_token = presented;
    if (!refresh_token) {
      refresh_token = random();
      this.#refresh.set(refresh_token, { grant });
    }
    const facts = {
      access_token,
      refresh_token,
      seconds,
      grant,
      issuer: this.issuer,
      refreshed: presented !== undefined,
    };
    return this.shape.granted(facts, req);
  }

  #credentials(req, fields) {
    const basic = /^basic (.+)$/i.exec(req.headers.authorization ?? "");
    if (basic && (this.shape.body_only || fields.has("client_secret"))) return { error: "invalid_client" };
    const [id, secret] = basic
      ? Buffer.from(basic[1], "base64").toString().split(":").map(decoded)
      : [fields.get("client_id"), fields.get("client_secret")];
    return id === this.client && secret === this.secret ? {} : { error: "invalid_client" };
  }

  #userinfo(req) {
    const bearer = /^bearer (.+)$/i.exec(req.headers.authorization ?? "")?.[1];
    const kept = this.#access.get(bearer);
    if (!kept || kept.grant.dead || kept.until < Date.now()) {
      return json(401, { error: "invalid_token" }, { "www-authenticate": 'Bearer error="invalid_token"' });
    }
    return json(200, this.shape.person(this.people.claims(kept.grant.account)));
  }

  /** Any method, and the token in the form, in JSON, in the query or as the bearer: providers agree on nothing here. */
  #revoke(req, { fields, url, body }) {
    let token = fields.get("token") ?? url.searchParams.get("token");
    token ??= /^bearer (.+)$/i.exec(req.headers.authorization ?? "")?.[1];
    if (/json/.test(req.headers["content-type"] ?? "")) token = Object.values(JSON.parse(body))[0];
    const kept = this.#refresh.get(token) ?? this.#access.get(token);
    if (kept) kept.grant.dead = true;
    return this.shape.revoked ?? { status: 200, headers: {}, body: "" };
  }
}
