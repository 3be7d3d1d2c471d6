"""Paths, environments and messages that all these scripts share."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEV = ROOT / "dev"
LOCAL = ROOT / ".local"
RUNS = LOCAL / "run"

REGION = "us-east-1"
# The access key of the account's owner. The stand-in does not verify its signature.
ADMIN = "test"


class Problem(Exception):
    """An error that the user can correct; its text says how."""


def say(text=""):
    """Print a line and flush, so that it appears at once in a pipe, too.

    A terminal or pipe that was closed ends the script like Ctrl-C, because no one could see that it still runs.
    """
    try:
        print(text, flush=True)
    except OSError:
        # What is printed while the script cleans up, and Python's own flush at exit, must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise KeyboardInterrupt from None


def printable(text):
    """The text with its control characters escaped, because a request must not be able to control the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def main(run):
    """Run a script. A Problem becomes one line and exit code 1; Ctrl-C becomes exit code 130 without a message."""
    # In a locale without Unicode a character is escaped instead of ending the script.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(run() or 0)
    except Problem as problem:
        with contextlib.suppress(OSError):
            print(f"error: {problem}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def clean_env(**extra):
    """This process's environment without variables that lead to a real AWS account or through a proxy."""
    dropped = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("AWS_") and key.upper() not in dropped
    }
    return env | {"NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1"} | extra


def aws_env(endpoint_url, **extra):
    """An environment in which AWS clients reach the local stack and nothing else."""
    return clean_env(
        AWS_ENDPOINT_URL=endpoint_url,
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        AWS_ACCESS_KEY_ID=ADMIN,
        AWS_SECRET_ACCESS_KEY=ADMIN,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
        **extra,
    )


def new_run_dir(name):
    """A private directory for one run. Directories of finished runs are removed first."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for old in RUNS.iterdir():
        pid = old.name.rpartition("-")[2]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(old, ignore_errors=True)
    run_dir = RUNS / f"{name}-{os.getpid()}"
    shutil.rmtree(run_dir, ignore_errors=True)
    (run_dir / "logs").mkdir(parents=True)
    (run_dir / "tmp").mkdir()
    run_dir.chmod(0o700)
    return run_dir
