'use strict';

/** The Zapier integration: instant triggers by REST hooks, and an action that publishes an event. */

const { version: platformVersion } = require('zapier-platform-core');

const authentication = require('./authentication');
const publishEvent = require('./creates/publish_event');
const { version } = require('./package.json');
const eventTypeList = require('./triggers/event_type_list');
const newEvent = require('./triggers/new_event');
const normalized = require('./triggers/normalized');

const byKey = (operations) => Object.fromEntries(operations.map((operation) => [operation.key, operation]));

module.exports = {
  version,
  platformVersion,
  authentication,
  // What a user enters is passed on as it is.
  flags: { cleanInputData: false },
  triggers: byKey([newEvent, ...normalized, eventTypeList]),
  searches: {},
  creates: byKey([publishEvent]),
};
