'use strict';

/**
 * Zapier's rules for public integrations, as far as they can be checked without an account. The numbers are those of
 * Zapier's checks reference. `find` returns the places where an app breaks the rule; `breaks` makes an app break it,
 * by which the tests show that the rule finds something.
 */

const { isDeepStrictEqual } = require('node:util');

const {
  ISO_TIME, allFields, authenticate, connectionLabel, hasType, hooks, inputFields, isStatic, isTitleCase, member,
  operations, prose, shapes, staticFields, strings, visible,
} = require('./reading');
const { CONNECTION } = require('./tools');

const SENSITIVE = /api[_-]?key|token|secret|passw(?:or)?d|pswd|jwt|signature/i;
const DANGEROUS = /^\s*(?:javascript|vbscript|data|file):/i;
const LINK = /\[[^[\]]+\]\(https:\/\/[^\s()]+\)/g;
const CODE = /`[^`]*`/g;
const LIKE_A_TIME = /^\d{4}-\d{2}-\d{2}|^\d{1,2} [A-Z][a-z]{2} \d{4}|^\d{1,2}[/.]\d{1,2}[/.]\d{2,4}/;
const NAME_OF_A_TIME = /(?:^|_)(?:at|date|time|timestamp)$/;
const NAME_OF_A_HOST = /url|domain|host|instance|region/i;

/** Addresses at which the API key would reach another host than the CRM's, or be sent without TLS. */
const HOSTILE = [
  'http://api.crm.com', 'http://127.0.0.1:4566', 'ftp://api.crm.com', 'javascript:alert(1)', 'api.crm.com', '', 'https://',
  'https://127.0.0.1', 'https://localhost', 'https://[::1]', 'https://169.254.169.254', 'https://2130706433',
  'https://0x7f000001', 'https://crm', 'https://db.internal', 'https://api.crm.com:8443', 'https://api.crm.com?x=',
  'https://api.crm.com#x', 'https://user@api.crm.com', 'https://api.crm.com@evil.com', 'https://api.crm.com\\@evil.com',
  'https://api.crm.com/ x', 'https://api_1.crm.com', `https://${'a'.repeat(64)}.crm.com`,
];

const places = (found) => found.map(({ place }) => place);
const words = (text) => new Set(text.toLowerCase().match(/[a-z]+/g));
const referenced = (reference) => reference.split('.');

/** A search that keeps the rules: the app has none, so those about searches are shown to work with it. */
const search = () => ({
  key: 'event',
  noun: 'Event',
  display: { label: 'Find Event', description: 'Finds an event.' },
  operation: { perform: () => [], inputFields: [{ key: 'type', label: 'Type' }], sample: { id: 'evt_1' } },
});

const create = (app) => app.creates.publish_event.operation;
const trigger = (app) => app.triggers.new_lead;

module.exports = [
  {
    id: 'D001',
    demand: 'no input field asks for a credential',
    find: (app) => places(inputFields(app).filter(({ key }) => SENSITIVE.test(key))),
    breaks: (app) => create(app).inputFields.push({ key: 'api_token', label: 'Token' }),
  },
  {
    id: 'D002',
    demand: 'the help text of a credential links to where it is found',
    find: (app) => {
      const credentials = app.authentication.fields.filter(({ type, key }) => type === 'password' || SENSITIVE.test(key));
      return credentials.filter(({ helpText }) => !(helpText ?? '').match(LINK)).map(({ key }) => key);
    },
    breaks: (app) => (app.authentication.fields[1].helpText = 'The API key is in the settings of your tenant.'),
  },
  {
    id: 'D003',
    demand: "the connection label is made of the auth test's result and shows no credential",
    find: async (app) => {
      const label = await connectionLabel(app);
      const { tenant_name: name } = (await authenticate(app, CONNECTION)).result;
      const shows = typeof label === 'string' && label.includes(name);
      return shows && !SENSITIVE.test(label) && !label.includes(CONNECTION.api_key) ? [] : [`label: ${label}`];
    },
    breaks: (app) => (app.authentication.connectionLabel = '{{tenant_name}} {{bundle.authData.api_key}}'),
  },
  {
    id: 'D004',
    demand: 'a field for an id has a dropdown',
    find: (app) => places(inputFields(app).filter(({ key, dynamic, choices }) => /(?:^|_)id$/.test(key) && !dynamic && !choices)),
    breaks: (app) => create(app).inputFields.push({ key: 'contact_id', label: 'Contact' }),
  },
  {
    id: 'D005',
    demand: 'a dropdown refers to a trigger that returns the fields it shows',
    find: (app) => {
      const isBroken = ({ dynamic }) => {
        const [key, ...names] = referenced(dynamic);
        const { sample } = app.triggers[key]?.operation ?? {};
        return names.length === 0 || names.some((name) => sample?.[name] === undefined);
      };
      return places(inputFields(app).filter((field) => field.dynamic && isBroken(field)));
    },
    breaks: (app) => (create(app).inputFields[0].dynamic = 'contact_list.id.name'),
  },
  {
    id: 'D006',
    demand: 'an instant trigger has a list, whose items have the shape of its webhooks and of its sample',
    find: async (app) => {
      const found = [];
      for (const hook of hooks(app)) {
        const expected = [hook.operation.sample];
        const { webhook, list } = hook.operation.performList ? await shapes(hook) : {};
        if (!isDeepStrictEqual(webhook, expected) || !isDeepStrictEqual(list, expected)) found.push(hook.place);
      }
      return found;
    },
    breaks: (app) => {
      const { operation } = trigger(app);
      const { performList } = operation;
      operation.performList = async (z, bundle) => (await performList(z, bundle)).map((one) => ({ ...one, source_id: null }));
    },
  },
  {
    id: 'D007',
    demand: 'every URL is https, also one that a user enters',
    find: async (app) => {
      const { requests } = await authenticate(app, { ...CONNECTION, base_url: 'http://api.crm.com' });
      const sent = requests.map(({ url }) => `auth test: ${url}`);
      return [...places(strings(app).filter(({ text }) => /\bhttp:/i.test(text))), ...sent];
    },
    breaks: (app) => (app.authentication.fields[0].placeholder = 'http://api.example.com'),
  },
  {
    id: 'D008',
    demand: 'links in texts are Markdown, and other URLs are code',
    find: (app) => places(prose(app).filter(({ text }) => /\bhttps?:|\]\(|\[[^\]]*\(/.test(text.replace(CODE, '').replace(LINK, '')))),
    breaks: (app) => (create(app).inputFields[0].helpText = 'See [the catalog(https://example.com/catalog).'),
  },
  {
    id: 'D009',
    demand: 'a search has a field to search by',
    find: (app) => places(operations(app, ['searches']).filter((operation) => staticFields(operation).length === 0)),
    breaks: (app) => (app.searches.event = { ...search(), operation: { ...search().operation, inputFields: [] } }),
  },
  {
    id: 'D010',
    demand: 'a sample has the primary key',
    find: (app) =>
      places(
        operations(app, ['triggers']).filter(({ operation: { sample, outputFields = [] } }) => {
          const primary = outputFields.filter((field) => field.primary).map(({ key }) => key);
          const keys = primary.length > 0 ? primary : ['id'];
          return keys.some((key) => !['string', 'number'].includes(typeof member(sample ?? {}, key)));
        }),
      ),
    breaks: (app) => delete trigger(app).operation.sample.id,
  },
  {
    id: 'D011',
    demand: 'a help text says more than its label',
    find: (app) =>
      places(allFields(app).filter(({ label, helpText }) => helpText && [...words(helpText)].every((word) => words(label).has(word)))),
    breaks: (app) => (create(app).inputFields[0].helpText = 'event type'),
  },
  {
    id: 'D012',
    demand: 'every operation has a static sample',
    find: (app) => places(operations(app).filter(({ operation }) => Object.keys(operation.sample ?? {}).length === 0)),
    breaks: (app) => delete create(app).sample,
  },
  {
    id: 'D013',
    demand: 'a field that is filled by a search refers to one that exists',
    find: (app) => places(inputFields(app).filter((field) => field.search && !app.searches?.[referenced(field.search)[0]])),
    breaks: (app) => (create(app).inputFields[0].search = 'contact.id'),
  },
  {
    id: 'D014',
    demand: 'a field that is filled by a search is a single text or number',
    find: (app) =>
      places(
        inputFields(app).filter((field) => {
          const isSingle = !field.list && !field.dict && !field.children;
          return field.search && !(isSingle && ['string', 'number', 'integer'].includes(field.type ?? 'string'));
        }),
      ),
    breaks: (app) => {
      app.searches.event = search();
      create(app).inputFields.push({ key: 'events', label: 'Events', list: true, search: 'event.id' });
    },
  },
  {
    id: 'D015',
    demand: 'a search or create refers to both',
    find: (app) =>
      Object.entries(app.searchOrCreates ?? {})
        .filter(([, pair]) => !app.searches?.[pair.search] || !app.creates?.[pair.create])
        .map(([key]) => key),
    breaks: (app) => (app.searchOrCreates = { event: { key: 'event', search: 'event', create: 'publish_event' } }),
  },
  {
    id: 'D016',
    demand: 'the app is more than one static webhook',
    find: (app) => {
      const all = visible(app);
      return all.length === 1 && all[0].operation.type === 'hook' && isStatic(all[0]) ? places(all) : [];
    },
    breaks: (app) => {
      app.triggers = { new_event: app.triggers.new_event };
      app.creates = {};
      delete app.triggers.new_event.operation.performSubscribe;
    },
  },
  {
    id: 'D017',
    demand: 'no trigger is a static webhook',
    find: (app) => places(hooks(app).filter(isStatic)),
    breaks: (app) => delete trigger(app).operation.performUnsubscribe,
  },
  {
    id: 'D018',
    demand: 'labels are in title case',
    find: (app) => places([...operations(app).map(({ place, display }) => ({ place, label: display.label })), ...allFields(app)].filter(({ label }) => !isTitleCase(label ?? ''))),
    breaks: (app) => (trigger(app).display.label = 'New lead'),
  },
  {
    id: 'D021',
    demand: 'the description of a trigger begins with "Triggers when" and ends with a full stop',
    find: (app) => places(operations(app, ['triggers']).filter(({ display }) => !/^Triggers when .+\.$/.test(display.description ?? ''))),
    breaks: (app) => (trigger(app).display.description = 'Triggers whenever there is a lead.'),
  },
  {
    id: 'D022',
    demand: 'an action has fields that are the same for all users',
    find: (app) => places(operations(app, ['creates']).filter((operation) => staticFields(operation).length === 0)),
    breaks: (app) => (create(app).inputFields = [() => []]),
  },
  {
    id: 'D023',
    demand: 'times in samples are ISO 8601 and have a zone',
    find: (app) =>
      operations(app).flatMap(({ place, operation }) =>
        strings(operation.sample ?? {})
          .filter(({ key, text }) => (NAME_OF_A_TIME.test(key) || LIKE_A_TIME.test(text)) && !ISO_TIME.test(text))
          .map(({ key }) => `${place}.${key}`),
      ),
    breaks: (app) => (trigger(app).operation.sample.timestamp = '2026-11-23T20:00:00'),
  },
  {
    id: 'D024',
    demand: 'a sample has the output fields that are required, and each has its type',
    find: (app) =>
      operations(app).flatMap(({ place, operation: { sample, outputFields = [] } }) =>
        outputFields
          .filter(({ key, type, required }) => {
            const value = member(sample ?? {}, key);
            return value === undefined ? required : !hasType(value, type);
          })
          .map(({ key }) => `${place}.${key}`),
      ),
    breaks: (app) => (app.triggers.new_payment.operation.sample.data.amount = '120.50'),
  },
  {
    id: 'D025',
    demand: 'no URL runs a program',
    find: (app) => places(strings(app).filter(({ text }) => DANGEROUS.test(text) || /\]\(\s*(?:javascript|vbscript|data):/i.test(text))),
    breaks: (app) => (create(app).inputFields[0].helpText = 'Read [the catalog](javascript:alert(1)) first.'),
  },
  {
    id: 'D026',
    demand: 'a host that a user enters is checked before anything is sent there',
    find: async (app) => {
      const found = [];
      const hosts = app.authentication.fields.filter(({ key, inputFormat }) => inputFormat || NAME_OF_A_HOST.test(key));
      for (const { key } of hosts) {
        for (const address of HOSTILE) {
          const { requests, result } = await authenticate(app, { ...CONNECTION, [key]: address });
          if (requests.length > 0 || result) found.push(`${key}: ${address}`);
        }
      }
      return found;
    },
    breaks: (app) => {
      app.authentication.test = async (z, bundle) =>
        (await z.request({ url: `${bundle.authData.base_url}/v1/me` })).data;
    },
  },
  {
    id: 'D028',
    demand: 'what a user enters is passed on as it is',
    find: (app) => places([{ place: 'flags', operation: app.flags ?? {} }, ...operations(app)].filter(({ operation }) => operation.cleanInputData)),
    breaks: (app) => (create(app).cleanInputData = true),
  },
  {
    id: 'M002',
    demand: 'the description of the app is about the app, in 40 to 140 characters',
    find: (_, { title, description }) => {
      const isAboutIt = description.startsWith(`${title} is a`) && !/zapier|\bsync/i.test(description);
      return isAboutIt && description.length >= 40 && description.length <= 140 ? [] : ['brand.description'];
    },
    breaks: (_, brand) => (brand.description = `${brand.title} is a service that syncs contacts with Zapier users.`),
  },
];
