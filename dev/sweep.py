"""Looks for the secrets of a run where none may be: in log lines, rows of tables, and responses that clients get.

sweep.py --state FILE [--secrets FOLDER] [--stack NAME]: sweeps a running stack, and fails if it finds any.
`dev/stack.py with` does so when its command has ended. The providers of the tests write every token, code, verifier and
secret that they gave out or were shown into `secrets` beside the state file (tests/it/clients/oauth/secrets.mjs), and
the test kit writes the problems of the API and the pages of browsers into `problems.txt`.
"""

import argparse
import json
import re
from pathlib import Path

from aws import Aws
from base import Problem, main, say

# Of a secret, this many characters are looked up; what begins so is then compared as a whole.
KEY_LENGTH = 12
WORD = re.compile(rf"[A-Za-z0-9_-]{{{KEY_LENGTH},}}")
PAGE = 10_000
SHOWN = 20


class Secrets:
    """The secrets of a run, found in texts in a time that does not depend on how many there are."""

    def __init__(self, folder):
        self.by_key = {}
        self.others = []
        self.count = 0
        for file in sorted(folder.glob("*.jsonl")):
            # The provider may have been killed while it wrote the last line.
            for line in file.read_text().splitlines():
                try:
                    self._add(json.loads(line))
                except json.JSONDecodeError:
                    continue

    def _add(self, secret):
        self.count += 1
        # The longest word, because all signed tokens begin alike.
        word = max(WORD.findall(secret["value"]), key=len, default=None)
        if word is None:
            if secret not in self.others:
                self.others.append(secret)
        else:
            self.by_key.setdefault(word[:KEY_LENGTH], []).append((word, secret))

    def within(self, text):
        """The kinds of the secrets that are in a text."""
        found = {secret["kind"] for secret in self.others if secret["value"] in text}
        for word in WORD.findall(text):
            for start in range(len(word) - KEY_LENGTH + 1):
                for known, secret in self.by_key.get(word[start : start + KEY_LENGTH], ()):
                    if word.startswith(known, start):
                        found.add(secret["kind"])
        return found


def has_secrets(run_dir):
    """Whether a provider of this run has written any."""
    return (run_dir / "secrets").is_dir()


def places(endpoint_url, run_dir, stack=None):
    """All texts that may hold no secret, each with its kind and the name of its place; of one deployment or of the run."""
    aws = Aws(endpoint_url)
    yield from _tables(aws, stack)
    yield from _logs(aws, stack)
    if stack:
        return
    for file in [run_dir / "problems.txt", *sorted((run_dir / "logs").glob("*.log"))]:
        if file.exists():
            kind = "problems and pages" if file.suffix == ".txt" else "lines of processes"
            with open(file, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    yield kind, file.name, line


def _tables(aws, stack):
    named = ("TableNames", "LastEvaluatedTableName", "ExclusiveStartTableName")
    rows = ("Items", "LastEvaluatedKey", "ExclusiveStartKey")
    for name in _pages(aws, "dynamodb", "DynamoDB_20120810.ListTables", {}, named):
        if not stack or name.startswith(f"{stack}-"):
            for row in _pages(aws, "dynamodb", "DynamoDB_20120810.Scan", {"TableName": name}, rows):
                yield "rows", f"the table {name}", json.dumps(row, ensure_ascii=False)


def _logs(aws, stack):
    groups, events = (("logGroups", "nextToken", "nextToken"), ("events", "nextToken", "nextToken"))
    prefix = {"logGroupNamePrefix": f"/aws/lambda/{stack}/"} if stack else {}
    for group in _pages(aws, "logs", "Logs_20140328.DescribeLogGroups", prefix, groups):
        name = group["logGroupName"]
        for event in _pages(aws, "logs", "Logs_20140328.FilterLogEvents", {"logGroupName": name, "limit": PAGE}, events):
            yield "log lines", f"the log {name}", event["message"]


def _pages(aws, service, target, body, names):
    member, last, start = names
    while True:
        page = aws.target(service, target, body, version="1.0" if service == "dynamodb" else "1.1")
        yield from page.get(member, ())
        if not page.get(last):
            return
        body = body | {start: page[last]}


def report(endpoint_url, run_dir, folder=None, stack=None):
    """Sweep, and say what was found where; returns an exit code."""
    secrets = Secrets(folder or run_dir / "secrets")
    texts, leaks = {}, {}
    for kind, place, text in places(endpoint_url, run_dir, stack):
        texts[kind] = texts.get(kind, 0) + 1
        for secret in secrets.within(text):
            leaks.setdefault((secret, place), text)
    if not texts.get("rows") or not texts.get("log lines"):
        raise Problem("the sweep for secrets read no rows or no log lines, so it shows nothing")
    read = ", ".join(f"{count} {kind}" for kind, count in sorted(texts.items()))
    say(f"Swept for {secrets.count} secrets of OAuth providers ({read}): {len(leaks) or 'none'} found.")
    for (secret, place), text in list(leaks.items())[:SHOWN]:
        say(f"  {secret} in {place}: {text.strip()[:300]}")
    return 1 if leaks else 0


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True, metavar="FILE")
    parser.add_argument("--secrets", type=Path, metavar="FOLDER", help="other secrets than those of the run")
    parser.add_argument("--stack", metavar="NAME", help="one deployment alone")
    return parser.parse_args()


def run(options):
    """Sweep a running stack."""
    state_file = Path(options.state)
    if not state_file.exists():
        raise Problem(f"{state_file} does not exist; is the stack running?")
    state = json.loads(state_file.read_text())
    return report(state["endpoint_url"], state_file.parent, options.secrets, options.stack)


if __name__ == "__main__":
    arguments = parse()
    main(lambda: run(arguments))
