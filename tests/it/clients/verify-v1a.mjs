// Verifies webhooks signed with `v1a` (ed25519), as Standard Webhooks says, with Node's own crypto:
// its libraries know `v1` only. Reads {headers, body, public_key} from standard input; writes
// {"ok": true} or {"error"}.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

// Seconds that a timestamp may be off; what the libraries allow.
const TOLERANCE = 300;
// What precedes the 32 bytes of an ed25519 key in DER (RFC 8410).
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

function check({ headers, body, public_key: text }) {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`]);
  if (!id || !timestamp || !signatures) return "a header is missing";
  if (!/^\d+$/.test(timestamp)) return "the timestamp is no number";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) return "the timestamp is too old or too new";
  const raw = text.startsWith("whpk_") ? Buffer.from(text.slice("whpk_".length), "base64") : Buffer.alloc(0);
  if (raw.length !== 32) return "the public key is not whpk_ and 32 bytes";
  const key = createPublicKey({ key: Buffer.concat([SPKI, raw]), format: "der", type: "spki" });
  const signed = Buffer.from(`${id}.${timestamp}.${body}`);
  const good = signatures
    .split(" ")
    .filter((signature) => signature.startsWith("v1a,"))
    .some((signature) => verify(null, signed, key, Buffer.from(signature.slice("v1a,".length), "base64")));
  return good ? null : "no matching signature";
}

const error = check(JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify(error ? { error } : { ok: true }));
