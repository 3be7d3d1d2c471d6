// The keys of a provider and the id_tokens that they sign. A test turns the keys while the provider runs, which
// oidc-provider itself cannot, and has wrong id_tokens signed with the right key: a client that only checks signatures
// would accept them.
import { createHmac, createPublicKey, randomBytes } from "node:crypto";

import { CompactSign, decodeJwt, decodeProtectedHeader, exportJWK, exportPKCS8, generateKeyPair } from "jose";

/** A new key pair with its key id. */
export async function newKey(alg, kid = randomBytes(6).toString("hex")) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const labels = { kid, alg, use: "sig" };
  return {
    alg,
    kid,
    privateKey,
    publicKey,
    private_jwk: { ...(await exportJWK(privateKey)), ...labels },
    public_jwk: { ...(await exportJWK(publicKey)), ...labels },
  };
}

/** The private half for a test that brought no key of its own: PKCS#8 as PEM, as Apple hands its keys out. */
export async function shownKey({ privateKey, kid }) {
  return { private_key: await exportPKCS8(privateKey), key_id: kid };
}

/** The keys that a provider publishes. */
export class Keys {
  #keys;
  turned = false;

  static async create(algorithms) {
    const keys = new Keys();
    keys.#keys = await Promise.all(algorithms.map((alg) => newKey(alg)));
    return keys;
  }

  get private_jwks() {
    return { keys: this.#keys.map((key) => key.private_jwk) };
  }

  get public_jwks() {
    return { keys: this.#keys.map((key) => key.public_jwk) };
  }

  /** Turns all keys: `new_kid`, or `same_kid` as some providers do. The old ones are gone at once. */
  async turn(how) {
    if (!["new_kid", "same_kid"].includes(how)) throw new Error(`rotate_keys is new_kid or same_kid, not ${how}`);
    this.#keys = await Promise.all(this.#keys.map(({ alg, kid }) => newKey(alg, how === "same_kid" ? kid : undefined)));
    this.turned = true;
  }

  /**
   * The same id_token with other claims, signed anew. `claims` sets (null removes), `shift` adds seconds to a time,
   * `header` likewise. `header.alg` may be `none`, or `HS256` with the public key as the secret: two old attacks.
   * `key: "other"` signs with a key that is not published; `signature: "bad"` changes a bit of a good signature.
   */
  async sign(token, { claims = {}, shift = {}, header = {}, key, signature } = {}) {
    const old = decodeProtectedHeader(token);
    const payload = without({ ...decodeJwt(token), ...claims });
    for (const [name, seconds] of Object.entries(shift)) payload[name] += seconds;
    const alg = header.alg ?? old.alg;
    const signer = this.#keys.find((known) => known.alg === old.alg);
    const head = without({ ...old, kid: signer.kid, ...header });
    const text = `${part(head)}.${part(payload)}`;
    if (alg === "none") return `${text}.`;
    if (alg === "HS256") {
      const pem = createPublicKey({ key: signer.public_jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
      return `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`;
    }
    const from = key === "other" ? await newKey(old.alg) : signer;
    const made = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader(head)
      .sign(from.privateKey);
    return signature === "bad" ? spoilt(made) : made;
  }
}

/** An object without the members that are null. */
function without(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}

function part(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function spoilt(token) {
  const [head, payload, signature] = token.split(".");
  const bytes = Buffer.from(signature, "base64url");
  bytes[0] ^= 1;
  return `${head}.${payload}.${bytes.toString("base64url")}`;
}
