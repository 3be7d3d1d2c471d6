'use strict';

const hook = require('../lib/hook');

module.exports = hook({
  key: 'new_event',
  noun: 'Event',
  label: 'New Event',
  description: 'Triggers when an event of the chosen type is published.',
  filter: (bundle) => bundle.inputData.event_type,
  inputFields: [
    {
      key: 'event_type',
      label: 'Event Type',
      type: 'string',
      required: true,
      dynamic: 'event_type_list.id.name',
      helpText:
        'Choose a type, or enter a custom value: a type that is not listed, a prefix such as `contact.*` for everything below it, or `*` for all events.',
    },
  ],
  type: 'contact.created',
  data: { id: 'con_42', email: 'ada@example.com', name: 'Ada Lovelace' },
  // The fields of the data depend on the chosen type; Zapier reads them from the sample of the user's own events.
  dataFields: [],
});
