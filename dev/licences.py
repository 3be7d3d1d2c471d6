"""Every crate's licence against deny.toml's list, and every crate in one version; offline.

Reads what cargo-deny would: `licenses.allow` and `.exceptions`, `bans.skip`, `graph.targets`.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict

from base import ROOT, Problem, main, say

# `/` is how old crates write OR.
TOKENS = re.compile(r"\(|\)|/|[^\s()/]+")


class Expression:
    """A licence expression (SPDX), judged against a set of allowed licences."""

    def __init__(self, text, allowed):
        self.tokens = TOKENS.findall(text)
        self.allowed = allowed

    def holds(self):
        """Whether the allowed licences satisfy the expression."""
        result = self._any()
        if self.tokens:
            raise ValueError(self.tokens[0])
        return result

    def _any(self):
        result = self._all()
        while self.tokens and self.tokens[0].upper() in ("OR", "/"):
            self.tokens.pop(0)
            result = self._all() or result
        return result

    def _all(self):
        result = self._one()
        while self.tokens and self.tokens[0].upper() == "AND":
            self.tokens.pop(0)
            result = self._one() and result
        return result

    def _one(self):
        token = self.tokens.pop(0)
        if token == "(":
            result = self._any()
            self.tokens.pop(0)
            return result
        if self.tokens and self.tokens[0].upper() == "WITH":
            self.tokens.pop(0)
            token += f" WITH {self.tokens.pop(0)}"
        return token in self.allowed


def graph(targets):
    """The packages that a build for any of the targets takes, by id."""
    packages = {}
    for target in targets:
        command = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1"]
        done = subprocess.run(
            [*command, "--filter-platform", target], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Problem(f"cargo metadata failed:\n{done.stderr.strip()}")
        metadata = json.loads(done.stdout)
        used = {node["id"] for node in metadata["resolve"]["nodes"]}
        packages |= {package["id"]: package for package in metadata["packages"] if package["id"] in used}
    return packages


def wrong_licences(packages, rules):
    """A line for each crate whose licence is not allowed."""
    extra = {_name(entry): set(entry["allow"]) for entry in rules.get("exceptions", [])}
    for package in packages:
        if package["source"] is None:
            continue  # our own
        allowed = set(rules["allow"]) | extra.get(package["name"], set())
        licence = package.get("license")
        try:
            fine = bool(licence) and Expression(licence, allowed).holds()
        except (ValueError, IndexError):
            fine = False
        if not fine:
            yield f"{package['name']} {package['version']}: licence {licence or 'unknown'} is not allowed"


def duplicates(packages, rules):
    """A line for each crate that is there in several versions without a reason in deny.toml."""
    skipped = set()
    for entry in rules.get("skip", []):
        if not entry.get("reason"):
            yield f"{_name(entry)}: the exception in deny.toml gives no reason"
        skipped.add((_name(entry), _version(entry)))
    versions = defaultdict(set)
    for package in packages:
        versions[package["name"]].add(package["version"])
    for name, found in sorted(versions.items()):
        left = {version for version in found if not {(name, version), (name, None)} & skipped}
        if len(found) > 1 and len(left) > 1:
            yield f"{name}: versions {', '.join(sorted(left))}"
    for name, version in sorted(skipped, key=str):
        if name not in versions or (version and version not in versions[name]):
            yield f"{name} {version or ''}: the exception in deny.toml is no longer needed"


def _name(entry):
    return (entry.get("crate") or entry["name"]).partition("@")[0]


def _version(entry):
    return (entry.get("crate") or "").partition("@")[2] or entry.get("version", "").lstrip("=") or None


def run():
    """Both checks; exit code 1 with a line for each finding."""
    try:
        import tomllib  # pylint: disable=import-outside-toplevel
    except ImportError:
        raise Problem("the licence check needs Python 3.11 or newer (tomllib); set PYTHON=python3.11") from None
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    packages = list(graph(rules["graph"]["targets"]).values())
    found = [*wrong_licences(packages, rules["licenses"]), *duplicates(packages, rules["bans"])]
    for line in found:
        print(line, file=sys.stderr)
    if found:
        raise Problem(f"{len(found)} findings; deny.toml holds the rules and their exceptions")
    say(f"{len(packages)} crates: licences allowed, no duplicates without a reason")


if __name__ == "__main__":
    main(run)
