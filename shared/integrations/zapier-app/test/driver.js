'use strict';

/**
 * Runs the app under the platform's own tester, with real HTTP. Reads a line of JSON for each call: `method`, the path
 * of a function in the definition, and `bundle`. Writes a line for each: `result`, or `error` with its name and message.
 */

process.env.NODE_ENV = 'test';

const readline = require('node:readline');

const { createAppTester } = require('zapier-platform-core');

const App = require('..');

const tester = createAppTester(App);

const call = async ({ method, bundle }) => {
  const run = method.split('.').reduce((value, name) => value?.[name], App);
  if (typeof run !== 'function') throw new Error(`${method} is not a function of the app`);
  return tester(run, bundle);
};

const main = async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const outcome = await call(JSON.parse(line)).then(
      (result) => ({ result: result ?? null }),
      ({ name, message }) => ({ error: { name, message } }),
    );
    process.stdout.write(`${JSON.stringify(outcome)}\n`);
  }
};

main();
