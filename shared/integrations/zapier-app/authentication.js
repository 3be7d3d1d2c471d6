'use strict';

const api = require('./lib/api');
const { documentation } = require('./brand');

/** Whose key it is. What Zapier stores of it names the connection and holds no secret. */
const test = async (z, bundle) => {
  const { data } = await api.request(z, bundle, { path: '/me' });
  const { tenant_id, tenant_name, key_id, key_name } = data;
  return { tenant_id, tenant_name, key_id, key_name };
};

module.exports = {
  type: 'custom',
  fields: [
    {
      key: 'base_url',
      label: 'API Address',
      type: 'string',
      required: true,
      isNoSecret: true,
      placeholder: 'https://api.example.com',
      helpText: `The https address under which your CRM serves its webhooks API, without \`/v1\`. [Where to find it](${documentation})`,
    },
    {
      key: 'api_key',
      label: 'API Key',
      type: 'password',
      required: true,
      isNoSecret: false,
      helpText: `A key of your tenant, which begins with \`cwk_\`. It requires the scopes \`endpoints:write\`, \`events:read\` and \`event_types:read\` for triggers, and \`events:write\` for actions. [How to create one](${documentation})`,
    },
  ],
  test,
  connectionLabel: (z, bundle) => `${bundle.inputData.tenant_name} (${bundle.inputData.tenant_id})`,
};
