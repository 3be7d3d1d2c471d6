'use strict';

/**
 * What the operator sets before it registers the app at Zapier: the name under which its customers know the CRM,
 * the description of the app's page in Zapier's directory, and the page that explains API keys.
 */
module.exports = {
  title: 'core-webhooks',
  description:
    'core-webhooks is a CRM service that delivers each event of your contacts, deals and payments to the URLs that subscribed.',
  documentation: 'https://example.com/docs/zapier',
};
