"""Measures the engine against its limits: AWS calls, CPU and time per delivery, on a stack of its own.

dev/stack.py with --aws-proxy-bin …/chaos-proxy --bin-dir DIR -- engine.py [--bin-dir DIR]

Events are published while the lanes are paused, and the lanes are resumed after that, so batches are full. No event
waits longer than 10 s, which the dispatcher still counts as fresh, as under steady load. CPU is that of the functions'
own processes. It is compared with a bare client that signs and posts the same bodies to the same receiver in the same
run. Machines differ, so the ratios count.
"""

import argparse
import itertools
import statistics
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from rig import EVENT, BareFunction, Receiver, Rig, in_parallel, wait_until, bare_client, expect, peak_memory

# pylint: disable=wrong-import-order
from base import ROOT, main, say

# Lambda's own poller makes a ReceiveMessage and a DeleteMessageBatch per batch of 10, inside the stand-in where no
# proxy counts them.
POLLER_CALLS = 2 / 10
LATENCIES = 100
# The stack must be idle when an event is published. After a batch the stand-in's poller polls once more, and pauses for
# 50 ms if the queue is empty.
PAUSE_SECONDS = 0.2


class Bench:
    """The stack, the receiver, and the measurements of the bare client."""

    def __init__(self, rig, receiver, bin_dir):
        self.rig = rig
        self.receiver = receiver
        self.bin_dir = bin_dir
        self.bares = []

    def tenant(self, endpoints):
        """Create a tenant with this number of endpoints, all at the receiver."""
        client = self.rig.tenant()
        for index in range(endpoints):
            body = {"url": f"{self.receiver.url}/{index}"}
            expect(201, client("POST", "/v1/endpoints", body))
        # Publishes may miss a new endpoint for one second.
        time.sleep(1.5)
        return client

    def load(self, chunks, publish, deliveries):
        """Publish and dispatch in chunks; returns AWS calls and CPU by function, per delivery."""
        self._chunk(publish, deliveries)
        before, batches_before, started = self.rig.clocks(), self.rig.batches(), time.monotonic()
        self.rig.reset()
        for _ in range(chunks):
            self._chunk(publish, deliveries)
        elapsed = time.monotonic() - started
        count = chunks * deliveries
        after, batches_after = self.rig.clocks(), self.rig.batches()
        if ended := set(before) - set(after):
            say(f"  {len(ended)} function processes ended meanwhile; their CPU is missing")
        cpu = {}
        for pid, (name, seconds) in after.items():
            since = before[pid][1] if pid in before else 0
            cpu[name] = cpu.get(name, 0) + (seconds - since) / count
        calls = {operation: number / count for operation, number in self.rig.counts().items()}
        batches = batches_after[0] - batches_before[0]
        fill = (batches_after[1] - batches_before[1]) / batches if batches else 0
        say(f"  {count} deliveries in {elapsed:.0f} s, {fill:.1f} messages per batch")
        say("  AWS calls per delivery: " + ", ".join(f"{name} {n:.3f}" for name, n in calls.items() if n >= 0.0005))
        say("  CPU per delivery, µs: " + ", ".join(f"{name} {s * 1e6:.0f}" for name, s in sorted(cpu.items())))
        return sum(calls.values()) + POLLER_CALLS, cpu

    def _chunk(self, publish, deliveries):
        self.receiver.http("POST", "/reset")
        self.rig.lanes(False)
        publish()
        self.rig.lanes(True)
        self.receiver.wait(deliveries)
        wait_until(self.rig.drained, "the lanes to be empty")
        if (received := self.receiver.count()) != deliveries:
            say(f"  expected {deliveries} webhooks, received {received}")

    def bare(self):
        """Take a further sample of the bare client's CPU seconds per post, because other work may load the machine."""
        self.bares.append(bare_client(self.bin_dir, self.receiver.url))


def single(client, events):
    """Publish this number of events, four at a time."""
    in_parallel(4, [lambda: expect(202, client("POST", "/v1/events", EVENT))] * events)


def batch(client, calls):
    """Publish this number of batches of 100."""
    body = {"events": [EVENT] * 100}
    for _ in range(calls):
        results = expect(202, client("POST", "/v1/events/batch", body))["data"]
        for result in results:
            expect(202, (result["status"], result))


def latencies(publish, receiver):
    """p50 and p99 in ms, from the start that `publish` returns to the arrival at the receiver.

    `publish` takes a number and returns an id and a start time.
    """
    for index in range(10):
        publish(-1 - index)
        time.sleep(PAUSE_SECONDS)
    receiver.http("POST", "/reset")
    published = []
    for index in range(LATENCIES):
        published.append(publish(index))
        time.sleep(PAUSE_SECONDS)
    receiver.wait(LATENCIES)
    arrivals = receiver.http("GET", "/arrivals")[1]
    milliseconds = sorted((arrivals[name] - started) * 1000 for name, started in published)
    return milliseconds[len(milliseconds) // 2], milliseconds[int(len(milliseconds) * 0.99)]


def publish_one(client, _):
    """Publish an event; returns its id, and the time at which the API accepted it."""
    event = expect(202, client("POST", "/v1/events", EVENT))
    return event["id"], datetime.fromisoformat(event["created_at"]).timestamp()


def run(options):
    """Measure everything, then print it with the limits."""
    started = time.monotonic()
    with Receiver(options.bin_dir / "receiver") as receiver:
        bench = Bench(Rig(), receiver, options.bin_dir)
        one, ten = bench.tenant(1), bench.tenant(10)
        bench.bare()
        say("single publish")
        single_calls, single_cpu = bench.load(8, partial(single, one, 150), 150)
        bench.bare()
        say("batch publish, 100 events per call")
        batch_calls, batch_cpu = bench.load(8, partial(batch, one, 6), 600)
        bench.bare()
        say("fan-out 10, single publish")
        wide_calls, wide_cpu = bench.load(8, partial(single, ten, 40), 400)
        bench.bare()
        bare = statistics.median(bench.bares)
        samples = ", ".join(f"{seconds * 1e6:.1f}" for seconds in bench.bares)
        say(f"bare client, µs per post, in the order of the samples: {samples}")
        p50, p99 = latencies(partial(publish_one, one), receiver)
        function = BareFunction(bench.rig, options.bin_dir / "examples" / "bare_function")
        names = (f"bare-{n}" for n in itertools.count())

        def send(_):
            name = next(names)
            return name, function.send(name, receiver.url)

        bare_p50, bare_p99 = latencies(send, receiver)
        peaks = {}
        for pid, name in bench.rig.functions().items():
            peaks[name] = max(peaks.get(name, 0), peak_memory(pid))
    say(f"measured in {time.monotonic() - started:.0f} s\n")
    say(f"{'metric':<62}{'measured':>9}{'limit':>8}{'ratio':>7}")
    line("AWS calls per delivery, single publish", single_calls, 2.4)
    line("AWS calls per delivery, batch publish", batch_calls, 0.6)
    line("AWS calls per delivery, fan-out 10", wide_calls, 0.6)
    line(f"dispatcher CPU, bare clients ({bare * 1e3:.4f} s per 1,000)", batch_cpu["dispatcher"] / bare, 2)
    line("all functions' CPU, bare clients, single publish", sum(single_cpu.values()) / bare, 13)
    line("all functions' CPU, bare clients, fan-out 10", sum(wide_cpu.values()) / bare, 2.8)
    line(f"accepted to arrived, idle, ms, p50 (the stack's {bare_p50:.1f} + 5)", p50, bare_p50 + 5)
    line(f"accepted to arrived, idle, ms, p99 (the stack's {bare_p99:.1f} + 20)", p99, bare_p99 + 20)
    say("\npeak memory, MB: " + ", ".join(f"{name} {peak:.0f}" for name, peak in sorted(peaks.items())))
    say(
        f"\n{POLLER_CALLS} of the calls per delivery are Lambda's own ReceiveMessage and DeleteMessageBatch for each "
        f"batch of 10.\nThey are computed, because the proxy cannot count them inside the stand-in. The stack's own "
        f"time is that of PutItem,\nSendMessageBatch and a function that only posts. "
        f"With {LATENCIES} events each, the p99 is about the slowest."
    )


def line(metric, measured, limit):
    """Print one number with its upper limit."""
    ratio = measured / limit
    say(f"{metric:<62}{measured:>9.2f}{limit:>8.2f}{ratio:>7.2f}  {'ok' if ratio <= 1 else 'MISSED'}")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = ROOT / "target" / "release"
    parser.add_argument("--bin-dir", type=Path, default=where, help="directory of the receiver and the examples")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: run(arguments))
