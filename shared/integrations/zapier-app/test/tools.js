'use strict';

/** What the tests share: a copy of a definition, a walk through one, and Zapier's tools with recorded responses. */

const fs = require('node:fs');
const path = require('node:path');

const { errors } = require('zapier-platform-core');

const RESPONSES = path.join(__dirname, '../../../../functions/api/src/openapi/responses.json');

/** A real response of each route of the API, as its description shows them. */
const recorded = JSON.parse(fs.readFileSync(RESPONSES, 'utf8'));

/** A connection that passes the app's own checks. */
const CONNECTION = { base_url: 'https://api.crm.com', api_key: `cwk_${'0123456789abcdef'.repeat(4)}` };

/** A deep copy, with the same functions. */
const copy = (value) => {
  if (Array.isArray(value)) return value.map(copy);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, copy(member)]));
};

/** Every value of a definition, with its path. */
function* walk(value, place = []) {
  yield { place, key: place.at(-1), value };
  if (typeof value === 'object' && value !== null) {
    for (const [key, member] of Object.entries(value)) yield* walk(member, [...place, key]);
  }
}

/**
 * Zapier's tools, whose requests get what `respond` returns: a status and a body.
 *
 * @returns {{ z: object, requests: object[] }} the tools, and the requests that were sent with them
 */
const tools = (respond) => {
  const requests = [];
  const request = async (options) => {
    requests.push(options);
    const { status = 200, body } = await respond(options, requests.length);
    return { status, data: body, content: typeof body === 'string' ? body : JSON.stringify(body) };
  };
  return { z: { request, errors }, requests };
};

module.exports = { CONNECTION, copy, recorded, tools, walk };
