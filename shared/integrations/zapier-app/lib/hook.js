'use strict';

/** Instant triggers: each Zap is an endpoint of its own, which exists from when it is turned on until it is off. */

const api = require('./api');
const events = require('./events');

/** The most characters of an event type, and of a filter. */
const LONGEST_FILTER = 128;

const unsubscribe = async (z, bundle) => {
  const id = bundle.subscribeData?.id;
  if (id) {
    // 404: the endpoint does not exist, so there is nothing left to do.
    await api.request(z, bundle, { method: 'DELETE', path: `/endpoints/${encodeURIComponent(id)}`, accepts: [404] });
  }
  return { id: id ?? null };
};

/**
 * An instant trigger.
 *
 * @param {object} trigger `key`, `noun`, `label` and `description` of the trigger; `filter`, which makes the filter
 *   of event types from the bundle; `inputFields`; and the `type`, `data` and `dataFields` of its sample
 */
module.exports = ({ key, noun, label, description, filter, inputFields, type, data, dataFields }) => {
  const filterOf = (z, bundle) => {
    const text = String(filter(bundle) ?? '').trim();
    if (text === '' || text.length > LONGEST_FILTER) {
      throw new z.errors.Error('Choose an event type.', 'InvalidEventType', 400);
    }
    return text;
  };

  const subscribe = async (z, bundle) => {
    const zap = bundle.meta?.zap?.id;
    const body = {
      url: bundle.targetUrl,
      event_types: [filterOf(z, bundle)],
      description: `Zapier: ${label}`,
      // The response then holds a public key, and no secret that Zapier would store and log.
      signing: 'v1a',
      ...(zap ? { metadata: { zap_id: String(zap).slice(0, 256) } } : {}),
    };
    const response = await api.request(z, bundle, { method: 'POST', path: '/endpoints', body });
    return { id: response.data.id };
  };

  return {
    key,
    noun,
    display: { label, description },
    operation: {
      type: 'hook',
      inputFields,
      perform: async (z, bundle) => [events.fromWebhook(bundle)],
      performList: async (z, bundle) => events.samples(z, bundle, filterOf(z, bundle)),
      performSubscribe: subscribe,
      performUnsubscribe: unsubscribe,
      sample: { id: 'evt_01kavg7r8e6mt4xw2z5v9b3csq', type, timestamp: '2026-11-23T20:00:00.000Z', data },
      outputFields: [
        { key: 'id', label: 'Event ID', type: 'string', required: true, primary: true },
        { key: 'type', label: 'Event Type', type: 'string', required: true },
        { key: 'timestamp', label: 'Time of the Event', type: 'datetime', required: true },
        ...dataFields.map((field) => ({ ...field, key: `data__${field.key}` })),
      ],
    },
  };
};
