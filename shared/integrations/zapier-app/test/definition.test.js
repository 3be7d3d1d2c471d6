'use strict';

/** The app is a valid definition, and keeps every rule that can be checked without an account at Zapier. */

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { createAppHandler } = require('zapier-platform-core');

const App = require('..');
const brand = require('../brand');
const rules = require('./rules');
const { copy } = require('./tools');

/** What the platform itself finds in a definition. */
const violations = async (app) => (await createAppHandler(app)({ command: 'validate' })).results;

/** The rules that Zapier's reference has for definitions, without those about its own versions. */
const NUMBERS = [...Array(18).keys()].map((index) => index + 1).concat(21, 22, 23, 24, 25, 26, 28);

test('the platform accepts the definition', async () => {
  assert.deepEqual(await violations(App), []);
});

test('the platform finds a trigger without a function and a key that differs', async () => {
  const app = copy(App);
  delete app.triggers.new_event.operation.perform;
  app.creates.publish = app.creates.publish_event;
  delete app.creates.publish_event;
  assert.equal((await violations(app)).length >= 2, true);
});

test('every rule of the reference is among ours, once', () => {
  const ids = rules.map(({ id }) => id);
  const expected = [...NUMBERS.map((number) => `D${String(number).padStart(3, '0')}`), 'M002'];
  assert.deepEqual(ids, expected);
});

for (const { id, demand, find, breaks } of rules) {
  test(`${id}: ${demand}`, async () => {
    assert.deepEqual(await find(App, brand), []);
  });

  test(`${id} finds an app that breaks it`, async () => {
    const [app, otherBrand] = [copy(App), copy(brand)];
    breaks(app, otherBrand);
    assert.notDeepEqual(await find(app, otherBrand), []);
  });
}
