'use strict';

/** Calls of the API with the connection's address and key, and its problems as errors that a user understands. */

const address = require('./address');

/** A tenant's key. The operator's key, which acts for every tenant, has another format and is never sent. */
const KEY = /^cwk_[!-~]{1,252}$/;

/** How often a change is attempted while other changes of the same tenant are recorded. */
const TRIES = 4;

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The API's address of this connection. */
const baseUrl = (z, bundle) => {
  const base = address.parse(bundle.authData.base_url);
  if (base === null) {
    throw new z.errors.Error('The API address must begin with https:// and name a public host.', 'InvalidAddress', 400);
  }
  return base;
};

const apiKey = (z, bundle) => {
  const key = String(bundle.authData.api_key ?? '').trim();
  if (!KEY.test(key)) {
    throw new z.errors.Error("The API key must be a tenant's key, which begins with cwk_.", 'InvalidKey', 401);
  }
  return key;
};

const problemOf = (response) => {
  try {
    const problem = JSON.parse(response.content);
    return typeof problem === 'object' && problem !== null ? problem : {};
  } catch {
    return {};
  }
};

/** The kind of a problem: the end of its type. */
const kindOf = (problem) => String(problem.type ?? '').split(':').pop();

/** A problem in words: what happened, in which fields, and the id that finds the request in the log. */
const describe = (status, problem) => {
  const place = (error) => error.pointer || error.header || error.parameter || 'body';
  const fields = (Array.isArray(problem.errors) ? problem.errors : []).map((error) => `${place(error)}: ${error.detail}`);
  const summary = problem.detail || problem.title || `The API responded with ${status}.`;
  const request = problem.request_id ? ` (request ${problem.request_id})` : '';
  return `${[summary, ...fields].join('; ')}${request}`;
};

/**
 * Sends a request to the API.
 *
 * @param {object} z Zapier's tools
 * @param {object} bundle the bundle, with the connection
 * @param {object} options as of `z.request`, with `path` in place of `url`; `accepts` lists further statuses that
 *   are no error
 * @returns {Promise<object>} the response
 */
const request = async (z, bundle, { path, headers, accepts = [], ...options }) => {
  const url = `${baseUrl(z, bundle)}/v1${path}`;
  const authorization = `Bearer ${apiKey(z, bundle)}`;
  for (let attempt = 1; ; attempt += 1) {
    const response = await z.request({
      ...options,
      url,
      headers: { ...headers, Authorization: authorization },
      // The API does not redirect, and the key is for its host alone.
      redirect: 'manual',
      skipThrowForStatus: true,
    });
    if ((response.status >= 200 && response.status < 300) || accepts.includes(response.status)) return response;
    const problem = problemOf(response);
    // Changes of one tenant are recorded one after the other; this one was rejected before it changed anything.
    if (response.status === 409 && kindOf(problem) === 'conflict' && attempt < TRIES) {
      await wait(150 * attempt);
      continue;
    }
    if (response.status === 401) {
      throw new z.errors.ExpiredAuthError('The API key is unknown or was revoked. Reconnect with a valid key.');
    }
    throw new z.errors.Error(describe(response.status, problem), kindOf(problem) || 'ApiError', response.status);
  }
};

module.exports = { request };
