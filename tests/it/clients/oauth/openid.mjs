// What the kinds `oidc` and `apple` share: oidc-provider with an interaction that plain HTTP can walk, keys of our own,
// and the orders of control. Everything strict about them (PKCE, codes, rotation, client authentication) is
// oidc-provider's own and not ours, so that our client is not tested against our own reading of the standards.
import Provider, { interactionPolicy } from "oidc-provider";

import { consentPage, json } from "./http.mjs";
import { Keys } from "./keys.mjs";
import { alterIss, People } from "./people.mjs";
import { createStore } from "./store.mjs";

const { Check, base } = interactionPolicy;
const HOUR = 3600;
const DAY = 24 * HOUR;

/** Every authorization asks anew, even of one who is signed in: the account is the test's to choose each time. */
function alwaysAsk() {
  const policy = base();
  const fresh = (name) => (ctx) => (ctx.oidc.result?.[name] ? Check.NO_NEED_TO_PROMPT : Check.REQUEST_PROMPT);
  for (const name of ["login", "consent"]) {
    policy.get(name).checks.clear();
    policy
      .get(name)
      .checks.add(new Check("always_asked", "every authorization asks", "interaction_required", fresh(name)));
  }
  return policy;
}

/**
 * The provider that `serve` takes. `flavour` has the configuration of the kind, its paths, and its changes:
 * {clients, configuration, paths, places, before, after, granted, denied, orders}.
 */
export async function openid(issuer, flavour) {
  const keys = await Keys.create(flavour.algorithms ?? ["RS256", "ES256"]);
  const people = new People();
  const grants = [];
  const waiting = new Map();
  const settings = { access_token_seconds: HOUR, grant_limit: Infinity };

  const op = new Provider(issuer, {
    adapter: createStore(flavour.clients),
    jwks: keys.private_jwks,
    conformIdTokenClaims: false,
    responseTypes: ["code"],
    // Grants of the providers that are played here outlive the browser's session.
    expiresWithSession: () => false,
    claims: { openid: ["sub"], email: ["email", "email_verified", "is_private_email"], profile: ["name"] },
    cookies: {
      keys: ["loopback only"],
      names: { session: "_session", interaction: "_interaction", resume: "_resume" },
    },
    interactions: { policy: alwaysAsk(), url: (_ctx, { uid }) => `/interaction/${uid}` },
    findAccount: (_ctx, name) => ({ accountId: name, claims: () => people.claims(name) }),
    ttl: {
      AccessToken: () => settings.access_token_seconds,
      AuthorizationCode: () => 600,
      IdToken: HOUR,
      RefreshToken: 180 * DAY,
      Session: DAY,
      Grant: 365 * DAY,
      Interaction: HOUR,
    },
    ...flavour.configuration,
  });
  op.on("server_error", (_ctx, error) => console.error(error));
  const callback = op.callback();

  /** Ends a grant: all that was made of it is dead. */
  async function end(grant) {
    grant.revoked = true;
    await Promise.all(
      [op.RefreshToken, op.AccessToken, op.AuthorizationCode].map((model) => model.revokeByGrantId(grant.grantId)),
    );
    await (await op.Grant.find(grant.grantId))?.destroy();
  }

  /** The grants of an account to a client that live, the oldest first. */
  const living = (account, client) =>
    grants.filter((grant) => grant.account === account && !grant.revoked && (!client || grant.client === client));

  /** Ends an interaction: one step signs in and consents. */
  async function finish(req, res, details, { account, error, ...next }) {
    const { uid, params } = details;
    waiting.set(uid, next);
    if (error) {
      const result = { error, error_description: "the user said no" };
      return op.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
    }
    const grant = new op.Grant({ accountId: account, clientId: params.client_id });
    const asked = (params.scope ?? "").split(" ").filter(Boolean);
    const allowed = asked.filter((scope) => !next.scopes || scope === "openid" || next.scopes.includes(scope));
    grant.addOIDCScope(allowed.join(" "));
    const refused = asked.filter((scope) => !allowed.includes(scope));
    if (refused.length) grant.rejectOIDCScope(refused.join(" "));
    const grantId = await grant.save();
    const first = !living(account, params.client_id).length;
    const made = { grantId, account, client: params.client_id, params, first };
    grants.push(made);
    await Promise.all(living(account, params.client_id).slice(0, -settings.grant_limit).map(end));
    waiting.set(uid, { ...next, made });
    return op.interactionFinished(req, res, { login: { accountId: account }, consent: { grantId } });
  }

  /** GET shows the page or goes on at once; POST is what the page sends. */
  async function interaction(req, res, { fields, path }) {
    const details = await op.interactionDetails(req, res);
    const { uid, params } = details;
    const next = waiting.get(uid) ?? people.take();
    waiting.set(uid, next);
    const denied = next.error ?? flavour.denied ?? "access_denied";
    if (req.method === "POST") {
      const chosen = fields.get("decision") === "allow" ? { account: fields.get("account") } : { error: denied };
      return finish(req, res, details, { ...next, error: undefined, ...chosen });
    }
    const decision = people.decide(next, params.login_hint);
    if (decision) return finish(req, res, details, { ...decision, error: next.error && denied });
    const shown = consentPage(path, params.client_id, params.scope ?? "", params.login_hint);
    for (const [name, value] of Object.entries(shown.headers)) res.setHeader(name, value);
    return res.end(shown.body);
  }

  return {
    keys,
    grants,
    places: flavour.places,
    before(request) {
      // A browser that is signed in with another account would be asked to sign out first; each authorization is new here.
      if (`${request.path}/`.startsWith(`${flavour.paths.authorization}/`)) forgetSession(request.req);
      if (request.path === flavour.paths.jwks) return json(200, keys.public_jwks);
      return flavour.before?.(request);
    },
    handle: (req, res, request) =>
      request.path.startsWith("/interaction/") ? interaction(req, res, request) : callback(req, res),
    async after(request, response) {
      let changed = response;
      const resumed = waiting.get(request.path.split("/").pop());
      const is_response = resumed && request.path.startsWith(`${flavour.paths.authorization}/`);
      if (is_response) {
        changed = (await flavour.responded?.(changed, resumed.made, people)) ?? changed;
        changed = alterIss(changed, resumed.iss);
        waiting.delete(request.path.split("/").pop());
      }
      changed = (await flavour.after?.(request, changed, keys)) ?? changed;
      if (keys.turned && request.path === flavour.paths.token && changed.status === 200) {
        const members = JSON.parse(changed.body);
        if (members.id_token)
          changed.body = JSON.stringify({ ...members, id_token: await keys.sign(members.id_token) });
      }
      return changed;
    },
    orders: {
      ...people.orders(),
      access_token_seconds: (seconds) => (settings.access_token_seconds = seconds ?? HOUR),
      rotate_keys: (how) => keys.turn(how),
      redirects: (uris) => {
        for (const client of flavour.clients.values()) client.redirect_uris = uris;
      },
      /** The user takes the grant back at the provider: all that was made of it is dead. */
      revoke: ({ account, client_id: client }) => Promise.all(living(account, client).map(end)),
      /** How many grants of one account and client live at once; a further one ends the oldest, as at Salesforce. */
      grant_limit: (limit) => (settings.grant_limit = limit ?? Infinity),
      ...flavour.orders,
    },
  };
}

/** Takes the cookies of a session out of a request. */
function forgetSession({ headers }) {
  const kept = (headers.cookie ?? "").split(/;\s*/).filter((pair) => !/^_session/.test(pair));
  headers.cookie = kept.join("; ");
}
