"""Runs one command so that no process outlives it: supervise.py CMD...

The stand-in starts a process per function and does not stop them. This parent adopts all descendants of the command (as
the kernel's "child subreaper") and kills them when it gets a signal, when the command exits, or when the script that
started it has ended, even by kill -9.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# The stand-in stores nothing, and ignores SIGTERM while its threads wait.
GRACE_SECONDS = 0.5

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option, value):
    """Set a property of this process in the kernel."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Process(NamedTuple):
    """A process as the kernel lists it in /proc/PID/stat, see proc_pid_stat(5)."""

    pid: int
    parent: int
    # The first 15 bytes of its executable's name.
    name: str
    # The status that wait(2) returns, of a process that has ended and whose parent has not read it; otherwise None.
    ended: "int | None"


def processes():
    """All processes of this machine, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue
            # The name in brackets may hold spaces and brackets; the other fields follow its last bracket.
            before, _, after = stat.rpartition(")")
            fields = after.split()
            ended = int(fields[-1]) if fields[0] == "Z" else None
            pid = int(entry.name)
            found[pid] = Process(pid, int(fields[1]), before.partition("(")[2], ended)
    return found


def below(root, found):
    """The descendants of process `root` among the processes that `processes` found, also those that have ended."""
    descending, frontier = [], {root}
    while frontier:
        frontier = {process.pid for process in found.values() if process.parent in frontier}
        descending.extend(found[pid] for pid in frontier)
    return descending


def descendants(root):
    """The process ids of the running descendants of process `root`."""
    return [process.pid for process in below(root, processes()) if process.ended is None]


def kill_descendants(root):
    """Stop all descendants of `root`: SIGTERM, a short wait, then SIGKILL until none is left."""
    for pid in descendants(root):
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while descendants(root):
        if time.monotonic() > deadline:
            for pid in descendants(root):
                _signal(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.02)
    _reap()


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _die_with_parent():
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main():
    """Run the command in sys.argv, kill its descendants, and return its exit code, or 128 + N after signal N."""
    starter = int(os.environ.pop("CW_STARTER", "0"))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if starter and os.getppid() != starter:
        return 1  # the starter ended before the kernel could notify us
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.append(True))
    # pylint: disable-next=subprocess-popen-preexec-fn
    child = subprocess.Popen(sys.argv[1:], preexec_fn=_die_with_parent)
    code = None
    while not stop and code is None:
        try:
            code = child.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            pass
    kill_descendants(os.getpid())
    if code is None:
        return 1
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
