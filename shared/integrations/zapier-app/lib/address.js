'use strict';

/**
 * The API's address, as a user enters it. Requests carry the API key, so the address must be a public host with
 * https: no other scheme, no IP address, no name of a private network, no user name, port, query or fragment.
 */

/** Labels of letters, digits and hyphens, and at least two of them. The last one is a top-level domain. */
const HOST = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{2,59})$/;

/** Top-level domains that are not on the public internet. */
const PRIVATE = /\.(?:arpa|corp|example|home|internal|intranet|invalid|lan|local|localhost|onion|private|test)$/;

/** Segments of letters, digits and a few marks; what a stage or a custom domain's mapping can be. */
const PATH = /^(?:\/[A-Za-z0-9._~-]+)*$/;

const LONGEST = 512;

/**
 * The address without `/v1` and without a slash at the end.
 *
 * @param {unknown} entered what the user entered
 * @returns {string | null} null if it is not an address of the API
 */
const parse = (entered) => {
  const text = String(entered ?? '').trim();
  if (text.length > LONGEST || /[\s\\]/.test(text)) return null;
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  const path = url.pathname.replace(/\/+$/, '').replace(/\/v1$/, '');
  const plain = !url.username && !url.password && !url.search && !url.hash && PATH.test(path);
  if (!plain) return null;
  if (isOfATest(url)) return url.origin + path;
  const isPublic = url.protocol === 'https:' && url.port === '' && HOST.test(url.hostname) && !PRIVATE.test(url.hostname);
  return isPublic ? url.origin + path : null;
};

/**
 * The tests' stack listens on loopback, without TLS. The variable is set by tests alone; at Zapier there is nothing
 * on loopback.
 */
const isOfATest = (url) =>
  process.env.ZAPIER_APP_ALLOWS_LOOPBACK === '1' && url.protocol === 'http:' && url.hostname === '127.0.0.1';

module.exports = { parse };
