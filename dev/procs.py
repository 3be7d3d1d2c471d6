"""Background processes of a run: started under supervision, stopped with their children, on loopback only."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from base import DEV, Problem
from supervise import descendants, processes


# The variable by which the processes of a part are found after its supervisor was killed; its value is the part's log.
PART = "CW_PART"


def start(command, env, log, cwd=None):
    """Start a command under dev/supervise.py with its output in `log`. The terminal's Ctrl-C does not reach it."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, str(DEV / "supervise.py"), *map(str, command)],
            env=env | {"CW_STARTER": str(os.getpid()), PART: str(log)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )


def stop(process):
    """Stop a supervised process and wait until all its descendants have exited."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def variables(pid):
    """The environment that a process was started with; empty if it has ended or belongs to another user."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(variable.partition("=")[::2] for variable in environ.split("\0"))


def kill_leftovers(log):
    """Kill what is left of the part with this log. A supervisor that was killed with -9 could not do it."""
    for pid in processes():
        if variables(pid).get(PART) == str(log):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def ending(code):
    """Why a process ended, by its exit code: a negative one, or one above 128, is a signal."""
    number = -code if code < 0 else code - 128
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"exit code {code}"


def free_port():
    """An unused port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_free(port, what, variable):
    """Fail if a port is in use."""
    with socket.socket() as probe:
        # Servers set this, too: connections that are still closing do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Problem(
                f"port {port} for {what} is not available ({error.strerror}); choose another with {variable}=PORT"
            ) from None


def require_loopback(process):
    """Fail if the process or a descendant accepts connections from other machines."""
    inodes = set()
    for pid in [process.pid, *descendants(process.pid)]:
        try:
            links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue  # it has just exited
        inodes.update(link[8:-1] for link in links if link.startswith("socket:["))
    for table, loopback in (("tcp", _loopback4), ("tcp6", _loopback6)):
        path = Path(f"/proc/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and fields[9] in inodes and not loopback(address):
                raise Problem(f"the local stack accepts connections from other machines on port {int(port, 16)}")


# The kernel prints an address as 32-bit words in the machine's own byte order.
def _bytes(address):
    words = (address[i : i + 8] for i in range(0, len(address), 8))
    return b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)


def _loopback4(address):
    return _bytes(address)[0] == 127


def _loopback6(address):
    raw = _bytes(address)
    mapped = raw[:12] == bytes(10) + b"\xff\xff" and raw[12] == 127
    return mapped or raw == bytes(15) + b"\x01"
