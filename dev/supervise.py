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

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# The stand-in stores nothing, and ignores SIGTERM while its threads wait.
GRACE_SECONDS = 0.5

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option, value):
    """Set a property of this process in the kernel."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def parents():
    """The parent of every process, by process id."""
    parent_of = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            # The name in brackets may hold spaces; state and parent follow its last bracket.
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                parent_of[int(entry.name)] = int(parent)
    return parent_of


def descendants(root):
    """The running descendants of process `root`."""
    parent_of = parents()
    below, frontier = [], {root}
    while frontier:
        frontier = {pid for pid, parent in parent_of.items() if parent in frontier}
        below.extend(frontier)
    return below


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
    """Run the command in sys.argv, kill its descendants, and return its exit code."""
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
    return code if code is not None and code >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
