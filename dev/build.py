"""Builds the functions for this machine with the debug profile."""

import subprocess

from base import ROOT, Problem

BINARIES = (
    "api",
    "dispatcher",
    "fanout",
    "calendar-sync",
    "inbound-apple",
    "inbound-brevo",
    "inbound-custom",
    "inbound-google-calendar",
    "inbound-stripe",
    "inbound-zapier",
    "mls-sync",
    "oauth",
    "rescuer",
    "scheduler",
    "tenant-eraser",
    "tenant-exporter",
    "token-refresher",
)


def build(*more):
    """Build the functions, and further binaries by name.

    Cargo unites the features of the packages that are named. Naming the whole workspace, as `make test` does, avoids
    compiling anything twice.
    """
    command = ["cargo", "build", "--locked", "--workspace"]
    for binary in (*BINARIES, *more):
        command += ["--bin", binary]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise Problem("cargo build failed; see the errors above")
