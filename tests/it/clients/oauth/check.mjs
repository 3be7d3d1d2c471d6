// Shows that the providers are as strict as the tests rely on: `node oauth/check.mjs` prints a line per check and fails
// at the end if one of them did. A counterpart that accepts everything would let every test of ours pass.
import { checkApple } from "./check/apple.mjs";
import { checkFaults } from "./check/faults.mjs";
import { checkFlow } from "./check/flow.mjs";
import { checkPlain } from "./check/plain.mjs";

let failed = 0;

/** One check: what it came to, and what is expected; without the latter, that it is true. */
function check(name, actual, ...rest) {
  const expected = rest.length ? rest[0] : true;
  const is_same = JSON.stringify(actual) === JSON.stringify(expected);
  if (!is_same) failed += 1;
  console.log(
    is_same ? `ok   ${name}` : `FAIL ${name}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`,
  );
}

for (const part of [checkFlow, checkFaults, checkApple, checkPlain]) await part(check);
if (failed) {
  console.log(`${failed} checks failed`);
  process.exit(1);
}
