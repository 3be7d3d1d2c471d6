// A request read whole, and a response held back, so that a fault can change what a provider responds before any byte
// of it is sent.
import { gunzipSync } from "node:zlib";

const BODY_LIMIT = 256 * 1024;

/** The body of a request; more than any honest client sends ends the connection. */
export async function readBody(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw new Error("the request is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The fields of a form. A field that comes twice stays twice: the provider is to refuse it. */
export function form(body) {
  return new URLSearchParams(body.toString());
}

/** Runs a handler and resolves to its response {status, headers, body}, which it returns or writes, without sending it. */
export function held(req, res, handler) {
  return new Promise((resolve, reject) => {
    res.end = (chunk) => {
      delete res.end;
      const headers = { ...res.getHeaders() };
      for (const name of Object.keys(headers)) res.removeHeader(name);
      resolve({ status: res.statusCode, headers, body: Buffer.from(chunk ?? "") });
      return res;
    };
    Promise.resolve(handler(req, res)).then(
      (response) => response?.status && (delete res.end, resolve(response)),
      reject,
    );
  });
}

/** Sends a response. Its length is that of the body, whatever the provider said before a fault changed it. */
export function send(res, { status, headers, body }) {
  const bytes = Buffer.from(body);
  res.writeHead(status, { ...headers, "content-length": bytes.length });
  res.end(bytes);
}

/** A response of JSON that no cache keeps. */
export function json(status, value, headers = {}) {
  const type = { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" };
  return { status, headers: { ...type, ...headers }, body: JSON.stringify(value) };
}

/** A page. */
export function page(status, title, body) {
  const html = `<!DOCTYPE html>\n<html lang="en"><head><title>${escaped(title)}</title><link rel="icon" href="data:,"></head><body>${body}</body></html>`;
  return { status, headers: { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" }, body: html };
}

/** A text as it may stand in HTML. */
export function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (letter) => names[letter]);
}

/** The login and consent page of all kinds. Its only way on is a POST, so that loading it approves nothing. */
export function consentPage(action, client, scopes, hint) {
  const field = `<label>Account <input name="account" value="${escaped(hint ?? "")}" required></label>`;
  const buttons =
    '<button name="decision" value="allow">Allow</button> <button name="decision" value="deny" formnovalidate>Deny</button>';
  const asks = `<p>${escaped(client)} asks for: ${escaped(scopes)}</p>`;
  return page(
    200,
    "Sign in",
    `<h1>Sign in</h1>${asks}<form method="post" action="${escaped(action)}">${field} ${buttons}</form>`,
  );
}

/** The text of a response that may be compressed. */
export function plainText({ headers, body }) {
  return (headers["content-encoding"] === "gzip" ? gunzipSync(body) : Buffer.from(body)).toString();
}
