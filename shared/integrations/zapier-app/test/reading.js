'use strict';

/** How a definition is read by the rules: its operations, fields and texts, and what its functions do. */

const { CONNECTION, recorded, tools, walk } = require('./tools');

const ISO_TIME = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2}))?$/;
const SMALL_WORDS = new Set('a an and as at but by for from in into of on or the to with'.split(' '));

/** The operations of an app, with their kind. */
const operations = (app, kinds = ['triggers', 'searches', 'creates']) =>
  kinds.flatMap((kind) =>
    Object.entries(app[kind] ?? {}).map(([key, operation]) => ({ ...operation, place: `${kind}.${key}` })),
  );

/** Those that users can choose. */
const visible = (app, kinds) => operations(app, kinds).filter(({ display }) => !display.hidden);

/** The instant triggers. */
const hooks = (app) => operations(app, ['triggers']).filter(({ operation }) => operation.type === 'hook');

/** Whether a user would have to copy the URL of a hook by hand. */
const isStatic = ({ operation }) => !operation.performSubscribe || !operation.performUnsubscribe;

/** The input fields of an operation that are the same for all users; functions make the others. */
const staticFields = ({ operation }) => (operation.inputFields ?? []).filter((field) => typeof field === 'object');

/** All of these of an app. */
const inputFields = (app) =>
  operations(app).flatMap((operation) =>
    staticFields(operation).map((field) => ({ ...field, place: `${operation.place}.${field.key}` })),
  );

/** All fields of an app, those of its connection too. */
const allFields = (app) => [
  ...inputFields(app),
  ...app.authentication.fields.map((field) => ({ ...field, place: `authentication.${field.key}` })),
];

/** All texts in a value, with the path to each. */
const strings = (value) =>
  [...walk(value)]
    .filter((found) => typeof found.value === 'string')
    .map(({ place, key, value: text }) => ({ place: place.join('.'), key, text }));

/** The texts of an app that may have Markdown. */
const prose = (app) => strings(app).filter(({ key }) => ['description', 'helpText', 'directions'].includes(key));

/** A value of a sample by the key of an output field. */
const member = (sample, key) => key.split('__').reduce((value, name) => value?.[name], sample);

const isTitleCase = (label) => {
  const words = label.split(' ');
  return words.every((word, index) => {
    const isInner = index > 0 && index < words.length - 1;
    if (isInner && SMALL_WORDS.has(word.toLowerCase())) return word === word.toLowerCase();
    return /^[A-Z0-9]/.test(word);
  });
};

const hasType = (value, type) => {
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'number') return typeof value === 'number';
  if (type === 'boolean') return typeof value === 'boolean';
  return typeof value === 'string' && (type !== 'datetime' || ISO_TIME.test(value));
};

/** The requests that an app's auth test sends with a connection, and its result if it does not fail. */
const authenticate = async (app, authData) => {
  const { z, requests } = tools(() => ({ body: recorded.get_caller }));
  let result = null;
  try {
    result = await app.authentication.test(z, { authData });
  } catch (error) {
    if (error instanceof TypeError) throw error;
  }
  return { requests, result };
};

/** The connection label after an auth test that passed. */
const connectionLabel = async (app) => {
  const { connectionLabel: label } = app.authentication;
  const { result } = await authenticate(app, CONNECTION);
  if (typeof label === 'function') return label(tools().z, { authData: CONNECTION, inputData: result });
  return (label ?? '').replace(/\{\{(?:bundle\.\w+\.)?(\w+)\}\}/g, (_, name) => result[name] ?? CONNECTION[name] ?? '');
};

/** What an instant trigger makes of the webhook of an event, and of the API's list with the same event. */
const shapes = async ({ operation }) => {
  const { id, ...event } = operation.sample;
  const bundle = {
    authData: CONNECTION,
    inputData: { event_type: event.type },
    cleanedRequest: event,
    rawRequest: { headers: { 'Http-Webhook-Id': id }, content: JSON.stringify(event) },
  };
  const page = { data: [{ ...recorded.list_events.data[0], type: event.type, id }], next_cursor: null };
  const stored = { ...recorded.get_event, ...event, id };
  const { z } = tools(({ url }) => ({ body: url.endsWith('/v1/events') ? page : stored }));
  return { webhook: await operation.perform(z, bundle), list: await operation.performList(z, bundle) };
};

module.exports = {
  ISO_TIME,
  allFields,
  authenticate,
  connectionLabel,
  hasType,
  hooks,
  inputFields,
  isStatic,
  isTitleCase,
  member,
  operations,
  prose,
  shapes,
  staticFields,
  strings,
  visible,
};
