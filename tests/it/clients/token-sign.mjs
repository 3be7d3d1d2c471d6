// Signs claims with jose as a provider signs the notices that it sends. Reads {"claims": [...]} from standard input and
// writes {"published_keys": {...}, "tokens": [...]}. The last token is signed with a key that is not published.
import { readFileSync } from "node:fs";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

const { claims } = JSON.parse(readFileSync(0, "utf8"));
const header = { alg: "RS256", kid: "key-1", typ: "secevent+jwt" };
const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
const stranger = await generateKeyPair("RS256", { extractable: true });
const sign = (key) => (one) => new SignJWT(one).setProtectedHeader(header).sign(key);
const tokens = await Promise.all(claims.map(sign(privateKey)));
tokens.push(await sign(stranger.privateKey)(claims[0]));
const published_keys = { keys: [{ ...(await exportJWK(publicKey)), kid: "key-1", use: "sig", alg: "RS256" }] };
process.stdout.write(JSON.stringify({ published_keys, tokens }));
