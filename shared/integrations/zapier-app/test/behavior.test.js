'use strict';

/** What the app sends and what it makes of responses, where the journey through the deployed API does not reach. */

const assert = require('node:assert/strict');
const { test } = require('node:test');

const App = require('..');
const address = require('../lib/address');
const events = require('../lib/events');
const { CONNECTION, recorded, tools } = require('./tools');

const { new_event: newEvent, new_lead: newLead, event_type_list: eventTypeList } = App.triggers;
const { perform: publish } = App.creates.publish_event.operation;

const bundle = (more = {}) => ({ authData: CONNECTION, inputData: {}, meta: { zap: { id: '7' } }, ...more });
const problem = (kind, status) => ({
  status,
  body: { type: `urn:core-webhooks:problem:${kind}`, title: kind, status, detail: `detail of ${kind}`, request_id: 'r_1' },
});

test('addresses of the API are accepted with and without what a user may add', () => {
  for (const [entered, expected] of [
    ['https://api.crm.com', 'https://api.crm.com'],
    [' https://API.crm.com/ ', 'https://api.crm.com'],
    ['https://api.crm.com/v1', 'https://api.crm.com'],
    ['https://api.crm.com:443/v1/', 'https://api.crm.com'],
    ['https://crm.com/hooks/v1/', 'https://crm.com/hooks'],
    ['https://a1b2c3.execute-api.eu-west-1.amazonaws.com/prod', 'https://a1b2c3.execute-api.eu-west-1.amazonaws.com/prod'],
    ['https://xn--bcher-kva.xn--p1ai', 'https://xn--bcher-kva.xn--p1ai'],
    ['https://crm.com/../v1', 'https://crm.com'],
    ['https://crm.com/a%2fb', null],
    ['https://crm.com/{{tenant}}', null],
    [`https://crm.com/${'a'.repeat(512)}`, null],
    [undefined, null],
  ]) {
    assert.equal(address.parse(entered), expected, entered);
  }
});

test('loopback is an address in tests alone, and only this one', () => {
  assert.equal(address.parse('http://127.0.0.1:4566/stage'), null);
  process.env.ZAPIER_APP_ALLOWS_LOOPBACK = '1';
  try {
    assert.equal(address.parse('http://127.0.0.1:4566/stage'), 'http://127.0.0.1:4566/stage');
    for (const other of ['http://127.0.0.2:4566', 'http://localhost:4566', 'http://api.crm.com', 'ftp://127.0.0.1']) {
      assert.equal(address.parse(other), null, other);
    }
  } finally {
    delete process.env.ZAPIER_APP_ALLOWS_LOOPBACK;
  }
});

test('the key is sent as a header, to the address of the connection alone', async () => {
  const { z, requests } = tools(() => ({ body: recorded.get_caller }));
  await App.authentication.test(z, bundle());
  assert.equal(requests[0].url, 'https://api.crm.com/v1/me');
  assert.equal(requests[0].headers.Authorization, `Bearer ${CONNECTION.api_key}`);
  assert.equal(requests[0].redirect, 'manual');
});

test("a text that is no tenant's key is not sent, so the operator's is not either", async () => {
  for (const key of ['iZOwS5EHyGC62iOrk2pQ8vX4nB7sT1uW3yA9dF6gH0jK5lM2', '', 'cwk_', 'cwk_a b', 'cwk_a\r\nX: y', undefined]) {
    const { z, requests } = tools(() => ({ body: recorded.get_caller }));
    const authData = { ...CONNECTION, api_key: key };
    await assert.rejects(App.authentication.test(z, bundle({ authData })), /begins with cwk_/);
    assert.equal(requests.length, 0);
  }
});

test('an unknown key ends the connection, and no other response does', async () => {
  const { ExpiredAuthError } = tools().z.errors;
  for (const [response, pattern] of [
    [problem('unauthorized', 401), /Reconnect/],
    [problem('forbidden', 403), /detail of forbidden .*r_1/],
    [problem('limit-reached', 422), /detail of limit-reached/],
    [{ status: 503, body: { message: 'Service Unavailable' } }, /responded with 503/],
    [{ status: 302, body: '<html>' }, /responded with 302/],
  ]) {
    const { z } = tools(() => response);
    await assert.rejects(App.authentication.test(z, bundle()), (error) => {
      assert.match(error.message, pattern);
      assert.equal(error instanceof ExpiredAuthError, response.status === 401);
      return true;
    });
  }
});

test('a problem names the fields', async () => {
  const refused = problem('invalid-field', 422);
  refused.body.errors = [{ pointer: '/type', detail: 'is reserved' }];
  const { z } = tools(() => refused);
  await assert.rejects(publish(z, bundle({ inputData: { event_type: 'secret.rotated' } })), /\/type: is reserved/);
});

test('a change that met another one is made again, and a conflict of keys is not', async () => {
  const made = { status: 201, body: recorded.create_endpoint };
  const zap = bundle({ targetUrl: 'https://hooks.zapier.com/hooks/standard/1/' });
  const busy = tools((_, count) => (count < 3 ? problem('conflict', 409) : made));
  assert.deepEqual(await newLead.operation.performSubscribe(busy.z, zap), { id: recorded.create_endpoint.id });
  assert.equal(busy.requests.length, 3);
  const always = tools(() => problem('conflict', 409));
  await assert.rejects(newLead.operation.performSubscribe(always.z, zap), /detail of conflict/);
  assert.equal(always.requests.length, 4);
  const used = tools(() => problem('idempotency-conflict', 409));
  await assert.rejects(publish(used.z, bundle({ inputData: { event_type: 'a.b' } })), /idempotency-conflict/);
  assert.equal(used.requests.length, 1);
});

test('a subscription is an endpoint of one type, and its result holds no key', async () => {
  const { z, requests } = tools(() => ({ status: 201, body: recorded.create_endpoint }));
  const targetUrl = 'https://hooks.zapier.com/hooks/standard/1/abc/';
  const result = await newEvent.operation.performSubscribe(z, bundle({ targetUrl, inputData: { event_type: ' deal.* ' } }));
  assert.deepEqual(result, { id: recorded.create_endpoint.id });
  const { method, url, body } = requests[0];
  assert.deepEqual([method, url], ['POST', 'https://api.crm.com/v1/endpoints']);
  assert.deepEqual(body, {
    url: targetUrl,
    event_types: ['deal.*'],
    description: 'Zapier: New Event',
    signing: 'v1a',
    metadata: { zap_id: '7' },
  });
  await assert.rejects(newEvent.operation.performSubscribe(z, bundle({ targetUrl })), /Choose an event type/);
});

test('what was never subscribed or is gone is unsubscribed already', async () => {
  const { z, requests } = tools(() => problem('not-found', 404));
  await newLead.operation.performUnsubscribe(z, bundle());
  assert.equal(requests.length, 0);
  await newLead.operation.performUnsubscribe(z, bundle({ subscribeData: { id: 'ept_1' } }));
  assert.deepEqual([requests[0].method, requests[0].url], ['DELETE', 'https://api.crm.com/v1/endpoints/ept_1']);
  const failing = tools(() => problem('internal', 500));
  await assert.rejects(newLead.operation.performUnsubscribe(failing.z, bundle({ subscribeData: { id: 'ept_1' } })));
});

test("a webhook's id is its header, however that is written, and without one the same for the same body", () => {
  const event = { type: 'a.b', timestamp: '2026-11-23T20:00:00.000Z', data: { n: 1 } };
  const content = JSON.stringify(event);
  const received = (headers, text = content) =>
    events.fromWebhook({ cleanedRequest: { ...event, extra: 1 }, rawRequest: { headers, content: text } });
  for (const name of ['Http-Webhook-Id', 'Webhook-Id', 'webhook-id', 'HTTP-WEBHOOK-ID']) {
    assert.deepEqual(received({ [name]: 'evt_1', 'Http-Other': 'x' }), { id: 'evt_1', ...event });
  }
  const [one, same, other] = [received({}), received({}), received({}, '{}')].map(({ id }) => id);
  assert.equal(one, same);
  assert.notEqual(one, other);
});

test('filters pass what the API delivers for them', () => {
  for (const [filter, type, expected] of [
    ['*', 'a.b', true],
    ['a.*', 'a.b', true],
    ['a.*', 'a.b.c', true],
    ['a.*', 'a', false],
    ['a.*', 'ab.c', false],
    ['a.b', 'a.b', true],
    ['a.b', 'a.b.c', false],
  ]) {
    assert.equal(events.matches(filter, type), expected, `${filter} ${type}`);
  }
});

test('samples are the three newest events of the type, and without one the example of the catalog', async () => {
  const types = ['a.x', 'a.b', 'a.b', 'c.d', 'a.b', 'a.b'];
  const page = { data: types.map((type, index) => ({ ...recorded.list_events.data[0], id: `evt_${index}`, type })) };
  const respond = ({ url }) => {
    if (url.endsWith('/events')) return { body: page };
    if (url.includes('/event-types/')) return { body: { ...recorded.get_event_type, type: 'z.z', example: { n: 1 } } };
    return { body: { ...recorded.get_event, id: url.split('/').at(-1) } };
  };
  const list = async (eventType, z) => newEvent.operation.performList(z, bundle({ inputData: { event_type: eventType } }));
  const { z } = tools(respond);
  assert.deepEqual((await list('a.b', z)).map(({ id }) => id), ['evt_1', 'evt_2', 'evt_4']);
  const [example] = await list('z.z', z);
  assert.deepEqual([Object.keys(example), example.type, example.data], [['id', 'type', 'timestamp', 'data'], 'z.z', { n: 1 }]);
  const without = tools(({ url }) => (url.includes('/event-types/') ? problem('not-found', 404) : { body: page }));
  assert.deepEqual(await list('z.z', without.z), []);
  assert.deepEqual(await list('z.*', without.z), []);
});

test('all pages of the catalog are in the dropdown', async () => {
  const { z, requests } = tools((_, count) => ({
    body: { data: [{ type: `a.${count}`, description: 'One.' }], next_cursor: count < 3 ? `c${count}` : null },
  }));
  const listed = await eventTypeList.operation.perform(z, bundle());
  assert.deepEqual(listed.map(({ id }) => id), ['a.1', 'a.2', 'a.3']);
  assert.deepEqual(requests.map(({ params }) => params.cursor), [undefined, 'c1', 'c2']);
});

test('data is pairs or a JSON object', async () => {
  const sent = async (inputData) => {
    const { z, requests } = tools(() => ({ status: 202, body: recorded.publish_event }));
    await publish(z, bundle({ inputData: { event_type: 'a.b', ...inputData } }));
    return requests[0].body;
  };
  assert.deepEqual(await sent({ data: { id: 'c_1' } }), { type: 'a.b', data: { id: 'c_1' } });
  assert.deepEqual((await sent({ data_json: '{"n":1,"of":[true]}' })).data, { n: 1, of: [true] });
  assert.deepEqual((await sent({ data_json: { n: 1 }, data: {} })).data, { n: 1 });
  assert.deepEqual(await sent({ data: '', data_json: '', occurred_at: '', channels: [] }), { type: 'a.b', data: {} });
  assert.deepEqual((await sent({ channels: ['west', ''] })).channels, ['west']);
  assert.equal((await sent({ occurred_at: '2026-11-23T20:00:00+01:00' })).timestamp, '2026-11-23T20:00:00+01:00');
  for (const inputData of [{ data_json: '{' }, { data_json: '[1]' }, { data_json: 'null' }, { data_json: '5' }]) {
    await assert.rejects(sent(inputData), /JSON/);
  }
  await assert.rejects(sent({ data: { a: 1 }, data_json: '{"a":1}' }), /not both/);
});

test('an idempotency key is of one Zap and one event type, and what the API accepts', async () => {
  const key = async (entered, zap = '7', eventType = 'a.b') => {
    const { z, requests } = tools(() => ({ status: 202, body: recorded.publish_event }));
    const inputData = { event_type: eventType, idempotency_key: entered };
    await publish(z, bundle({ inputData, meta: { zap: { id: zap } } }));
    return requests[0].headers['Idempotency-Key'];
  };
  assert.equal(await key('42'), await key(' 42 '));
  const others = await Promise.all([key('42'), key('43'), key('42', '8'), key('42', '7', 'a.c'), key('ä'.repeat(500))]);
  assert.equal(new Set(others).size, others.length);
  for (const one of others) assert.match(one, /^[ -~]{1,255}$/);
  assert.equal(await key(''), undefined);
});
