'use strict';

const api = require('../lib/api');

/** The most pages that are read: the catalog has at most 500 types, and a page may be cut short by its size. */
const PAGES = 20;

/** The types of the catalog that can be published, for dropdowns. */
const perform = async (z, bundle) => {
  const found = [];
  let cursor;
  for (let page = 0; page < PAGES; page += 1) {
    const params = { limit: 250, archived: false, ...(cursor ? { cursor } : {}) };
    const { data } = await api.request(z, bundle, { path: '/event-types', params });
    found.push(...data.data.map(({ type, description }) => ({ id: type, name: type, description })));
    cursor = data.next_cursor;
    if (!cursor) break;
  }
  return found;
};

module.exports = {
  key: 'event_type_list',
  noun: 'Event Type',
  display: {
    label: 'List Event Types',
    description: 'Triggers when the event types of a dropdown are listed.',
    hidden: true,
  },
  operation: {
    type: 'polling',
    perform,
    sample: { id: 'contact.created', name: 'contact.created', description: 'A contact was created.' },
    outputFields: [
      { key: 'id', label: 'Event Type', type: 'string', required: true, primary: true },
      { key: 'name', label: 'Name', type: 'string', required: true },
      { key: 'description', label: 'Description', type: 'string' },
    ],
  },
};
