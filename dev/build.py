"""The functions, built for this machine with the quick profile."""

import subprocess

from base import ROOT, Problem

BINARIES = ("api", "dispatcher", "fanout", "inbound-stripe", "rescuer", "scheduler")


def build(*more):
    """Build the functions, and the binaries asked for besides.

    The whole workspace is named although a few binaries are wanted: cargo unites the features of
    what is named, and with the same set as `make test` nothing is ever compiled twice.
    """
    command = ["cargo", "build", "--locked", "--workspace"]
    for binary in (*BINARIES, *more):
        command += ["--bin", binary]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise Problem("cargo build failed; what is wrong stands above")
