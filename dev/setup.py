"""Checks the requirements of this machine and installs the pinned tools into the checkout.

setup.py TOOLS...: `stack` (MiniStack), `sam` (SAM CLI and cfn-lint), `deny` (cargo-deny), `build` (cargo-lambda),
`contract` (schemathesis, vendors' signers, what the documents' Python needs, Google's description of its calendar and an
OData server), `gcal` (a client of Google Calendar, if there is a Python 3.13), `nextest`, `clients` (npm packages of the
tests and of the Zapier app) and `browser` (Chromium, from the machine's own packages).
Tools that are already installed at their pinned versions are left alone.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from base import DEV, LOCAL, ROOT, Problem, main, say

NEXTEST = "0.9.143"
# Names of Chromium: Debian's, that of other distributions, and Chrome's. oauth/browser.mjs of the clients has the same.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Folders with npm packages: foreign clients of the tests, and the Zapier app with the platform that runs it.
CLIENTS = (ROOT / "tests" / "it" / "clients", ROOT / "shared" / "integrations" / "zapier-app")


def check(tools):
    """Fail on the first missing requirement, with the package to install."""
    if platform.system() != "Linux":
        raise Problem(
            f"the local stack runs Linux binaries, and this is {platform.system()}: "
            "use a Linux machine, a container or WSL"
        )
    if sys.version_info < (3, 10):
        raise Problem(f"Python 3.10 or newer is required; this is {platform.python_version()}")
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            raise Problem(f"Python lacks {module}: install python3-venv (Debian, Ubuntu) or python3-pip") from None
    rust_version = re.search(r'^rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    for tool in ("cargo", "rustc"):
        advice = "install Rust with rustup, or `rustup update stable`"
        _require_version(tool, r"(\d+\.\d+(?:\.\d+)?)", rust_version[1], advice)
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise Problem("no C compiler: install gcc (build-essential on Debian and Ubuntu)")
    if "clients" in tools:
        _require_version("node", r"v(\d+)", "20", "install nodejs; the tests' signing libraries require it")
        _require("npm", "install npm")


def _require(tool, advice):
    if not shutil.which(tool):
        raise Problem(f"{tool} is missing: {advice}")


def _require_version(tool, pattern, minimum, advice):
    _require(tool, advice)
    output = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(pattern, output)
    if not found:
        raise Problem(f"`{tool} --version` prints no version: {advice}")
    if _numbers(found[1]) < _numbers(minimum):
        raise Problem(f"{tool} {minimum} or newer is required; this is {found[1]}: {advice}")


def _numbers(version):
    return tuple(map(int, version.split(".")))


def venv(name, python=sys.executable):
    """Install the pinned packages into a virtual environment, again when the pins change."""
    target, pins = LOCAL / name, DEV / f"requirements-{name}.txt"
    stamp, version = target / "stamp", f"{sys.version_info[:2]} {hashlib.sha256(pins.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text() == version:
        return
    packages = sum(line[:1].isalpha() for line in pins.read_text().splitlines())
    say(f"Installing {pins.relative_to(ROOT)} into {target.relative_to(ROOT)} ...")
    shutil.rmtree(target, ignore_errors=True)
    LOCAL.mkdir(exist_ok=True)
    _run([python, "-m", "venv", target])
    pip = [target / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    # --no-deps: the file lists all packages, and an outdated pin should fail here.
    _run([*pip, "--no-deps", "--requirement", pins], lambda line: line.startswith("Collecting"), packages)
    stamp.write_text(version)


def gcal():
    """Install gcal-sync, which requires a newer Python than everything else; without one its test is skipped."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/3.1[3-9]*/bin/python3")
    for python in (sys.executable, *filter(None, map(shutil.which, ("python3.14", "python3.13"))), *sorted(pyenv)):
        newer = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 13))"]
        if subprocess.run(newer, capture_output=True, check=False).returncode == 0:
            venv("gcal", python)
            return
    say("No Python 3.13: the test with gcal-sync is skipped")


def nextest():
    """Build the test runner into the checkout, unless the machine has one."""
    if shutil.which("cargo-nextest", path=search_path()):
        return
    say(f"Building cargo-nextest {NEXTEST} into .local (takes a few minutes) ...")
    command = ["cargo", "install", "--locked", "--root", LOCAL, f"cargo-nextest@{NEXTEST}"]
    if subprocess.run(command, check=False).returncode != 0:
        raise Problem("could not install cargo-nextest")


def clients():
    """Install the npm packages of the tests' third-party clients and of the Zapier app."""
    for folder in CLIENTS:
        lock = folder / "package-lock.json"
        if not lock.exists():
            raise Problem(f"{lock.relative_to(ROOT)} does not exist")
        stamp, version = folder / "node_modules" / "stamp", hashlib.sha256(lock.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == version:
            continue
        say(f"Installing the npm packages of {folder.relative_to(ROOT)} ...")
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder])
        stamp.write_text(version)


def browser():
    """Install Chromium, in which the tests of OAuth walk through login and consent, unless the machine has one."""
    if any(map(shutil.which, BROWSERS)):
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    # Packages of the machine are the user's to change: no sudo, which would ask for a password in the middle of a run.
    if not shutil.which(command[0]) or os.geteuid() != 0:
        raise Problem(f"no Chromium: install it (Debian: `{' '.join(command)}` as root)")
    say("Installing chromium with apt-get ...")
    # A fresh machine or container has no lists of packages.
    _run(["apt-get", "update"])
    _run(["env", "DEBIAN_FRONTEND=noninteractive", *command])


def search_path():
    """PATH with the checkout's own tools first."""
    own = [LOCAL / "bin", LOCAL / "build" / "bin"]
    return os.pathsep.join([*map(str, own), os.environ["PATH"]])


def _run(command, counts=None, total=0):
    """Run an installer with its progress on the terminal, and its output only if it fails."""
    lines = []
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        done = 0
        for line in process.stdout:
            lines.append(line)
            if counts and counts(line):
                done += 1
                if sys.stdout.isatty():
                    print(f"\r  {done} of {total}", end="", flush=True)
                elif done % 20 == 0:
                    say(f"  {done} of {total}")
    if counts and sys.stdout.isatty():
        print("\r\033[K", end="")
    if process.returncode != 0:
        shown = " ".join(map(str, command[:4]))
        raise Problem(f"`{shown} ...` failed:\n{''.join(lines[-20:]).rstrip()}")


def setup(tools):
    """Check the machine, then install the given tools."""
    check(tools)
    for tool in tools:
        {"gcal": gcal, "nextest": nextest, "clients": clients, "browser": browser}.get(tool, lambda name=tool: venv(name))()


if __name__ == "__main__":
    main(lambda: setup(sys.argv[1:]))
