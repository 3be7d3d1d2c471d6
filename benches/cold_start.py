"""Cold start and size of release binaries: from the start of the process to its first poll.

cold_start.py [--runs N] [BINARY...]   The first binary is the baseline for the others. The default is the smallest
possible function, then all deployed ones.

Each run starts a new process on a Lambda Runtime API of our own that never returns an event. So the time is exactly
that between Lambda's start of the process and its first poll.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "dev"))

# pylint: disable-next=wrong-import-position
from build import BINARIES

# The limits: start time as a multiple of the baseline, and size in megabytes.
START_LIMIT = 1.5
SIZE_LIMIT = 9

# Environment of a function. None of these addresses is called.
ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_FUNCTION_VERSION": "1",
    "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
    "AWS_LAMBDA_LOG_GROUP_NAME": "bench",
    "REGISTRY_TABLE": "registry",
    "EVENTS_TABLE": "events",
    "PAYLOADS_BUCKET": "payloads",
    "FAST_LANE_URL": "http://127.0.0.1:1/queue",
    "SLOW_LANE_URL": "http://127.0.0.1:1/queue",
    "FAN_OUT_URL": "http://127.0.0.1:1/queue",
    "UNREADABLE_URL": "http://127.0.0.1:1/queue",
    "LEASES_TABLE": "leases",
    "AUDIT_TABLE": "audit",
    "ALERTS_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:alerts",
    "SECRETS_PREFIX": "bench",
    "OPERATOR_KEY_SECRET": "bench",
    "TOKEN_KEY_SECRET": "bench",
    "CHECKPOINT_KEY_SECRET": "bench",
    "CONNECTIONS_QUEUE_URL": "http://127.0.0.1:1/queue",
    "CACHE_SECONDS": "10",
}


def cold_start(binary):
    """Milliseconds until the first poll, and the resident memory (KiB) at that moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        environment = ENVIRONMENT | {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.getsockname()[1]}",
        }
        started = time.perf_counter()
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([binary], env=environment, **silent) as process:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(10)
                    if b"/invocation/next" not in connection.recv(4096):
                        raise SystemExit(f"{binary} did not poll for its first event")
                    milliseconds = (time.perf_counter() - started) * 1000
                    status = Path(f"/proc/{process.pid}/status").read_text()
            finally:
                process.kill()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return milliseconds, int(resident.split()[1])


def main():
    """Print a line for each binary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("binaries", nargs="*", type=Path)
    options = parser.parse_args()
    release = ROOT / "target" / "release"
    all_binaries = [release / "examples" / "hello_lambda", *(release / name for name in BINARIES)]
    baseline = None
    print(f"{'binary':<20}{'size MB':>9}{'start ms':>10}{'p95':>8}{'ratio':>7}{'RSS MB':>8}")
    for binary in options.binaries or all_binaries:
        runs = [cold_start(binary.resolve()) for _ in range(options.runs)]
        times = sorted(milliseconds for milliseconds, _ in runs)
        median = statistics.median(times)
        baseline = baseline or median
        size = binary.stat().st_size / 1e6
        resident = statistics.median(kib for _, kib in runs) / 1024
        p95 = times[int(len(times) * 0.95)]
        verdict = "ok" if median <= START_LIMIT * baseline and size <= SIZE_LIMIT else "MISSED"
        row = f"{binary.name:<20}{size:>9.2f}{median:>10.1f}{p95:>8.1f}{median / baseline:>7.2f}{resident:>8.1f}"
        print(f"{row}  {verdict}")
    print(f"limits: {SIZE_LIMIT} MB, ratio {START_LIMIT}")


if __name__ == "__main__":
    main()
