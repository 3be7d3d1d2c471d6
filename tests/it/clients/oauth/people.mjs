// Who signs in, and what they decide. A test names the account in `login_hint`, or sets it here; without either there
// is a page, as a browser meets it.
export class People {
  #accounts = new Map();
  #next = [];
  default = null;

  /** The claims of an account. Any name is an account: tests make up as many as they like. */
  claims(name) {
    const label = name.charAt(0).toUpperCase() + name.slice(1);
    const usual = { sub: name, email: `${name}@example.com`, email_verified: true, name: label };
    return { ...usual, ...this.#accounts.get(name) };
  }

  /** Takes what the next authorization is to come to. */
  take() {
    return this.#next.shift() ?? {};
  }

  /**
   * What happens without a page: {account, error, …}, or null where a page must ask. The order of the next
   * authorization is used up once only, so a page keeps it with its interaction.
   */
  decide(next, hint) {
    if (next.page) return null;
    const account = next.account ?? hint ?? this.default;
    return account || next.error ? { account, ...next } : null;
  }

  /** The orders of the control endpoint. */
  orders() {
    return {
      account: (name) => (this.default = name),
      accounts: (all) => {
        for (const [name, claims] of Object.entries(all))
          this.#accounts.set(name, { ...this.#accounts.get(name), ...claims });
      },
      next_authorization: (next) => {
        for (let times = next.times ?? 1; times > 0; times -= 1) this.#next.push(next);
      },
    };
  }
}

/** Changes `iss` in an authorization response: null takes it away (RFC 9207), a text replaces it. */
export function alterIss(response, iss) {
  if (iss === undefined) return response;
  const { location } = response.headers;
  if (location) {
    const url = new URL(location);
    if (iss === null) url.searchParams.delete("iss");
    else url.searchParams.set("iss", iss);
    return { ...response, headers: { ...response.headers, location: url.href } };
  }
  const field = /<input type="hidden" name="iss" value="[^"]*"\/>/;
  return { ...response, body: response.body.toString().replace(field, iss === null ? "" : hidden("iss", iss)) };
}

/** A hidden field of a form_post page. */
export function hidden(name, value) {
  return `<input type="hidden" name="${name}" value="${String(value).replaceAll("&", "&amp;").replaceAll('"', "&quot;")}"/>`;
}
