'use strict';

/** Events in the shape of a webhook: `type`, `timestamp` and `data`, and the `id`, which a webhook has as a header. */

const { createHash } = require('node:crypto');

const api = require('./api');

/** How many samples a user is shown; Zapier displays no more. */
const SAMPLES = 3;

/** How many of the newest events are searched for samples: one page of the API. */
const SEARCHED = 250;

/** The id of a sample that is no event. */
const NO_EVENT = 'evt_00000000000000000000000000';

/** A header of the webhook. Zapier writes it as `Http-Webhook-Id`. */
const header = (rawRequest, name) => {
  const names = [name, `http-${name}`];
  const found = Object.entries(rawRequest?.headers ?? {}).find(([known]) => names.includes(known.toLowerCase()));
  return found?.[1];
};

const item = ({ id, type, timestamp, data }) => ({ id, type, timestamp, data });

/** The event of a webhook. A repeat of a webhook has the same id. */
const fromWebhook = (bundle) => {
  const event = bundle.cleanedRequest;
  const content = bundle.rawRequest?.content ?? JSON.stringify(event);
  const id = header(bundle.rawRequest, 'webhook-id') ?? createHash('sha256').update(content).digest('hex');
  return item({ ...event, id });
};

/** Whether an event type passes a filter: a type, a prefix with an asterisk, or an asterisk. */
const matches = (filter, type) => {
  if (filter === '*') return true;
  return filter.endsWith('.*') ? type.startsWith(filter.slice(0, -1)) : type === filter;
};

/** The catalog's example of a type, as an event; none without the scope to read the catalog. */
const exampleOf = async (z, bundle, filter) => {
  if (filter.endsWith('*')) return [];
  const path = `/event-types/${encodeURIComponent(filter)}`;
  const response = await api.request(z, bundle, { path, accepts: [403, 404] });
  const { type, example, updated_at: timestamp } = response.status === 200 ? response.data : {};
  return example ? [item({ id: NO_EVENT, type, timestamp, data: example })] : [];
};

/**
 * The newest events that pass a filter, in the shape of webhooks. Without one, the example of the catalog; without
 * that, nothing, and Zapier shows the trigger's static sample.
 */
const samples = async (z, bundle, filter) => {
  const page = await api.request(z, bundle, { path: '/events', params: { limit: SEARCHED } });
  const found = page.data.data.filter((event) => matches(filter, event.type)).slice(0, SAMPLES);
  if (found.length === 0) return exampleOf(z, bundle, filter);
  const events = found.map(({ id }) => api.request(z, bundle, { path: `/events/${id}` }));
  return (await Promise.all(events)).map((response) => item(response.data));
};

module.exports = { fromWebhook, matches, samples };
