'use strict';

const { createHash } = require('node:crypto');

const api = require('../lib/api');

const isEmpty = (value) =>
  value === undefined || value === null || value === '' || (typeof value === 'object' && Object.keys(value).length === 0);

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The event's data: pairs of names and texts, or a JSON object. */
const dataOf = (z, { data, data_json: json }) => {
  const refuse = (message) => {
    throw new z.errors.Error(message, 'InvalidData', 400);
  };
  if (!isEmpty(data) && !isEmpty(json)) refuse('Fill in Data or Data as JSON, not both.');
  if (isEmpty(json)) return isEmpty(data) ? {} : data;
  let parsed = json;
  if (typeof json === 'string') {
    try {
      parsed = JSON.parse(json);
    } catch {
      refuse('Data as JSON is not valid JSON.');
    }
  }
  if (!isObject(parsed)) refuse('Data as JSON must be a JSON object.');
  return parsed;
};

/**
 * The idempotency key of the API. The same entry in another Zap, or for another event type, is another event. Hashed,
 * because an entry may be longer than the API accepts, or not ASCII.
 */
const idempotencyKeyOf = (bundle, type) => {
  const entered = String(bundle.inputData.idempotency_key ?? '').trim();
  if (entered === '') return null;
  const parts = JSON.stringify([String(bundle.meta?.zap?.id ?? ''), type, entered]);
  return `zapier-${createHash('sha256').update(parts).digest('hex')}`;
};

const perform = async (z, bundle) => {
  const { event_type: eventType, occurred_at: timestamp, channels } = bundle.inputData;
  const type = String(eventType ?? '').trim();
  const key = idempotencyKeyOf(bundle, type);
  const response = await api.request(z, bundle, {
    method: 'POST',
    path: '/events',
    headers: key === null ? {} : { 'Idempotency-Key': key },
    body: {
      type,
      data: dataOf(z, bundle.inputData),
      ...(isEmpty(timestamp) ? {} : { timestamp }),
      ...(isEmpty(channels) ? {} : { channels: [].concat(channels).filter((channel) => !isEmpty(channel)) }),
    },
  });
  const { id, type: published, timestamp: happened, created_at } = response.data;
  return { id, type: published, timestamp: happened, created_at };
};

module.exports = {
  key: 'publish_event',
  noun: 'Event',
  display: {
    label: 'Publish Event',
    description: 'Publishes an event, which is delivered to every endpoint that subscribed to its type.',
  },
  operation: {
    perform,
    inputFields: [
      {
        key: 'event_type',
        label: 'Event Type',
        type: 'string',
        required: true,
        dynamic: 'event_type_list.id.name',
        helpText: 'Choose a type of the catalog, or enter a custom value such as `contact.created`.',
      },
      {
        key: 'data',
        label: 'Data',
        dict: true,
        helpText: 'Fields of the event. All values are sent as text; use Data as JSON for numbers and nested values.',
      },
      {
        key: 'data_json',
        label: 'Data as JSON',
        type: 'text',
        helpText: 'A JSON object in place of the fields above, such as `{"id":"con_42","amount":120.5}`.',
      },
      {
        key: 'occurred_at',
        label: 'Occurred At',
        type: 'datetime',
        helpText: 'When it happened. The time of publishing is used if this is empty.',
      },
      {
        key: 'channels',
        label: 'Channels',
        type: 'string',
        list: true,
        helpText: 'Up to five labels by which endpoints can select events.',
      },
      {
        key: 'idempotency_key',
        label: 'Idempotency Key',
        type: 'string',
        helpText:
          'A value that is different for each event, such as the ID of the record that triggered this Zap. A step that runs again with the same value publishes no second event.',
      },
    ],
    sample: {
      id: 'evt_01kavg7r8e6mt4xw2z5v9b3csq',
      type: 'contact.created',
      timestamp: '2026-11-23T20:00:00.000Z',
      created_at: '2026-11-23T20:00:00.125Z',
    },
    outputFields: [
      { key: 'id', label: 'Event ID', type: 'string', required: true },
      { key: 'type', label: 'Event Type', type: 'string', required: true },
      { key: 'timestamp', label: 'Time of the Event', type: 'datetime', required: true },
      { key: 'created_at', label: 'Time of Acceptance', type: 'datetime', required: true },
    ],
  },
};
