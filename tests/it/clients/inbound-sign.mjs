// Makes fresh requests of providers, as they would send them now. Reads [{preset, url}] from standard input, with the
// URL that was entered at the provider. Writes a line of JSON per request: {preset, case, signer, verifier, now, method,
// path, query, headers, body, secrets, published_keys}, with the time in milliseconds and the body in base64.
//
// `signer` is the vendor's library, or node:crypto where no library of the vendor signs. `verifier` is the vendor's
// library that accepted the request here, where there is one.
import { readFileSync } from "node:fs";

import { LAYOUTS } from "./inbound/layouts.mjs";
import { LIBRARIES } from "./inbound/libraries.mjs";
import { TOKENS } from "./inbound/tokens.mjs";

const SIGNERS = { ...LAYOUTS, ...LIBRARIES, ...TOKENS };

for (const { preset, url } of JSON.parse(readFileSync(0, "utf8"))) {
  const signer = SIGNERS[preset];
  if (!signer) throw new Error(`${preset} has no signer: add one to a file of inbound/`);
  // Of this source alone: the verifier of Paddle accepts 5 s, and all sources together may take longer.
  const now = Date.now();
  for (const request of await signer({ url, now })) {
    const body = Buffer.from(request.body).toString("base64");
    process.stdout.write(`${JSON.stringify({ preset, now, path: null, query: "", verifier: null, ...request, body })}\n`);
  }
}
