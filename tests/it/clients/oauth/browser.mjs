// Walks a URL through login and consent in Chromium, because the rules for cookies and cross-site posts are a
// browser's own and no client of ours can show that they are kept.
//
//   node oauth/browser.mjs URL PREFIX [--first URL]… [--account NAME] [--deny] [--button TEXT] [--chromium PATH]
//                          [--seconds N]
//
// Opens each --first URL and leaves it: what it sets is there when the walk begins. Signs in on each page titled
// "Sign in"; --button names a button of ours to press on other pages. Ends at the first URL that starts with PREFIX and
// prints {final_url, status, cookies, console_errors, pages: [titles], posts: [{url, origin, cookies: [names]}]}, else
// exits with 1 and prints the same with "error".
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

import { chromium } from "playwright-core";

// The same names as in dev/setup.py.
const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];
const NAMES = { "--account": "account", "--button": "button", "--chromium": "path", "--seconds": "seconds" };

function options([url, prefix, ...rest]) {
  const given = { url, prefix, first: [], account: "ada", seconds: "20", deny: false };
  while (rest.length) {
    const word = rest.shift();
    if (word === "--deny") given.deny = true;
    else if (word === "--first" && rest.length) given.first.push(rest.shift());
    else if (NAMES[word] && rest.length) given[NAMES[word]] = rest.shift();
    else throw new Error(`unknown or incomplete option: ${word}`);
  }
  if (!prefix) throw new Error("usage: browser.mjs URL PREFIX [--account NAME] [--deny] [--button TEXT]");
  return given;
}

/** The browser of the machine: nothing is downloaded for it. */
function executable(path) {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const places = BROWSERS.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = path ?? places.find((place) => existsSync(place));
  if (!found) throw new Error("no Chromium: python3 dev/setup.py browser installs it");
  return found;
}

const given = options(process.argv.slice(2));
// Without the sandbox, because containers run as root; every page comes from loopback.
const browser = await chromium.launch({
  executablePath: executable(given.path),
  args: ["--no-sandbox", "--disable-gpu"],
});
const posted = [];
/** A POST as it left the browser: which cookies went with it is the browser's decision, and no page can see it. */
const shown = async (request) => {
  const { origin = null, cookie = "" } = await request.allHeaders();
  const cookies = cookie.split(/;\s*/).filter(Boolean);
  return { url: request.url(), origin, cookies: cookies.map((pair) => pair.split("=")[0]) };
};
const context = await browser.newContext();
const page = await context.newPage();
const report = { final_url: null, status: null, cookies: [], console_errors: [], pages: [], posts: [] };
page.on("console", (message) => message.type() === "error" && report.console_errors.push(message.text()));
page.on("pageerror", (error) => report.console_errors.push(String(error)));
page.on("request", (request) => request.method() === "POST" && posted.push(shown(request)));
page.on("response", (response) => {
  if (response.request().isNavigationRequest() && response.url().startsWith(given.prefix))
    report.status = response.status();
});

const arrived = () => page.url().startsWith(given.prefix);
/** Waits for the page after an action that leaves this one, through redirects and pages that post themselves. */
const settled = async (before) => {
  await page.waitForURL((url) => url.href !== before, { timeout: given.seconds * 1000, waitUntil: "load" });
};

try {
  for (const url of given.first) await page.goto(url, { timeout: given.seconds * 1000 });
  await page.goto(given.url, { timeout: given.seconds * 1000 });
  for (let step = 0; step < 10; step += 1) {
    const title = await page.title();
    report.pages.push(title);
    if (arrived()) break;
    const before = page.url();
    if (title === "Sign in") {
      await page.fill('input[name="account"]', given.account);
      await page.click(`button[value="${given.deny ? "deny" : "allow"}"]`);
    } else if (given.button && (await page.getByRole("button", { name: given.button }).count())) {
      await page.getByRole("button", { name: given.button }).click();
    }
    await settled(before);
  }
} catch (error) {
  report.error = error.message.split("\n")[0];
}
report.final_url = page.url();
report.cookies = await context.cookies();
report.posts = await Promise.all(posted);
if (!arrived()) report.error ??= "the walk ended elsewhere";
await browser.close();
console.log(JSON.stringify(report));
process.exit(report.error ? 1 : 0);
