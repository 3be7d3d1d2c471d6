"""Numbers of the engine beside their bars: calls of AWS, CPU and time per delivery, on a stack of its own.

dev/stack.py with --aws-proxy-bin …/chaos-proxy --bin-dir DIR -- engine.py [--bin-dir DIR]

Events are published while the lanes are held, then the lanes are let go: so batches are full. In
between nothing waits longer than the dispatcher takes for fresh (10 s), as under steady load.
CPU is that of the functions' own processes; the bare client that it is held against signs and posts
the same bodies to the same receiver in the same run. Machines and moments differ: the ratios count.
"""

import argparse
import itertools
import statistics
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from rig import BareFunction, Receiver, Rig, at_once, await_, bare_client, expect

# pylint: disable=wrong-import-order
from base import ROOT, main, say

BODY_BYTES = 1024
# What the envelope takes beside the padding.
ENVELOPE_BYTES = len('{"type":"bench.happened","timestamp":"2026-11-23T20:00:00.000Z","data":{"pad":""}}')
# Lambda's own poller makes these inside the stand-in, where no proxy sees them: a ReceiveMessage and
# a DeleteMessageBatch per batch of 10.
POLLER_CALLS = 2 / 10
BARE_POSTS = 10_000
LATENCIES = 100
# The stack is idle when an event is published. The stand-in's poller looks once more when a batch
# has ended, and is deaf for 50 ms when that was in vain.
PAUSE_SECONDS = 0.2

EVENT = {"type": "bench.happened", "data": {"pad": "x" * (BODY_BYTES - ENVELOPE_BYTES)}}


class Bench:
    """The stack, the receiver, and the lines that have been measured."""

    def __init__(self, rig, receiver, bin_dir):
        self.rig = rig
        self.receiver = receiver
        self.bin_dir = bin_dir
        self.bares = []

    def tenant(self, endpoints):
        """A tenant with so many endpoints, all at the receiver."""
        client = self.rig.tenant()
        for n in range(endpoints):
            body = {"url": f"{self.receiver.url}/{n}"}
            expect(201, client("POST", "/v1/endpoints", body))
        # A new endpoint may be missed by publishes for a second.
        time.sleep(1.5)
        return client

    def load(self, chunks, publish, deliveries):
        """Publish in chunks and dispatch each: calls, and CPU by function, per delivery."""
        self._chunk(publish, deliveries)
        before, began, wall = self.rig.clocks(), self.rig.batches(), time.monotonic()
        self.rig.reset()
        for _ in range(chunks):
            self._chunk(publish, deliveries)
        wall = time.monotonic() - wall
        count = chunks * deliveries
        after, ended = self.rig.clocks(), self.rig.batches()
        if gone := set(before) - set(after):
            say(f"  {len(gone)} function processes ended in between; their CPU is missing")
        cpu = {}
        for pid, (name, seconds) in after.items():
            since = before[pid][1] if pid in before else 0
            cpu[name] = cpu.get(name, 0) + (seconds - since) / count
        calls = {operation: number / count for operation, number in self.rig.counts().items()}
        batches = ended[0] - began[0]
        fill = (ended[1] - began[1]) / batches if batches else 0
        say(f"  {count} deliveries in {wall:.0f} s, {fill:.1f} messages a batch")
        say("  calls per delivery: " + ", ".join(f"{name} {n:.3f}" for name, n in calls.items() if n >= 0.0005))
        say("  CPU per delivery, µs: " + ", ".join(f"{name} {s * 1e6:.0f}" for name, s in sorted(cpu.items())))
        return sum(calls.values()) + POLLER_CALLS, cpu

    def _chunk(self, publish, deliveries):
        self.receiver.http("POST", "/reset")
        self.rig.lanes(False)
        publish()
        self.rig.lanes(True)
        self.receiver.wait(deliveries)
        await_(self.rig.drained, "the lanes to be empty")
        if (came := self.receiver.count()) != deliveries:
            say(f"  {came} webhooks came where {deliveries} were due")

    def bare(self):
        """Take one more sample of the bare client's CPU seconds per post: others may be at work on the machine."""
        binary = self.bin_dir / "examples" / "bare_client"
        self.bares.append(bare_client(binary, self.receiver.url, BARE_POSTS, BODY_BYTES))


def single(client, events):
    """Publish so many events, four at once."""
    at_once(4, [lambda: expect(202, client("POST", "/v1/events", EVENT))] * events)


def batch(client, calls):
    """Publish so many batches of 100."""
    body = {"events": [EVENT] * 100}
    for _ in range(calls):
        results = expect(202, client("POST", "/v1/events/batch", body))["data"]
        for result in results:
            expect(202, (result["status"], result))


def latencies(publish, receiver):
    """p50 and p99 in ms from what `publish` says was the beginning to the arrival at the receiver.

    `publish` takes a number and answers id and beginning.
    """
    for n in range(10):
        publish(-1 - n)
        time.sleep(PAUSE_SECONDS)
    receiver.http("POST", "/reset")
    begun = []
    for n in range(LATENCIES):
        begun.append(publish(n))
        time.sleep(PAUSE_SECONDS)
    receiver.wait(LATENCIES)
    arrivals = receiver.http("GET", "/arrivals")[1]
    took = sorted((arrivals[name] - began) * 1000 for name, began in begun)
    return took[len(took) // 2], took[int(len(took) * 0.99)]


def publish_one(client, _):
    """Publish an event; its id, and when the API accepted it by its own word."""
    event = expect(202, client("POST", "/v1/events", EVENT))
    return event["id"], datetime.fromisoformat(event["created_at"]).timestamp()


def run(options):
    """Measure everything, then print it beside the bars."""
    began = time.monotonic()
    with Receiver(options.bin_dir / "receiver") as receiver:
        bench = Bench(Rig(), receiver, options.bin_dir)
        one, ten = bench.tenant(1), bench.tenant(10)
        bench.bare()
        say("single publish")
        single_calls, single_cpu = bench.load(8, partial(single, one, 150), 150)
        bench.bare()
        say("batch publish, 100 events a call")
        batch_calls, batch_cpu = bench.load(8, partial(batch, one, 6), 600)
        bench.bare()
        say("fan-out 10, single publish")
        wide_calls, wide_cpu = bench.load(8, partial(single, ten, 40), 400)
        bench.bare()
        bare = statistics.median(bench.bares)
        samples = ", ".join(f"{seconds * 1e6:.1f}" for seconds in bench.bares)
        say(f"the bare client, µs a post, before, between and after: {samples}")
        p50, p99 = latencies(partial(publish_one, one), receiver)
        function = BareFunction(bench.rig, options.bin_dir / "examples" / "bare_function")
        names = (f"bare-{n}" for n in itertools.count())

        def send(_):
            name = next(names)
            return name, function.send(name, receiver.url)

        bare_p50, bare_p99 = latencies(send, receiver)
    say(f"measured in {time.monotonic() - began:.0f} s\n")
    say(f"{'what':<62}{'measured':>9}{'bar':>8}{'ratio':>7}")
    line("calls of AWS per delivery, single publish", single_calls, 2.4)
    line("calls of AWS per delivery, batch publish", batch_calls, 0.6)
    line("calls of AWS per delivery, fan-out 10", wide_calls, 0.6)
    line(f"dispatcher CPU, bare clients ({bare * 1e3:.4f} s per 1,000)", batch_cpu["dispatcher"] / bare, 2)
    line("all functions' CPU, bare clients, single publish", sum(single_cpu.values()) / bare, 13)
    line("all functions' CPU, bare clients, fan-out 10", sum(wide_cpu.values()) / bare, 2.8)
    line(f"accepted to arrived, idle, ms, p50 (the stack's {bare_p50:.1f} + 5)", p50, bare_p50 + 5)
    line(f"accepted to arrived, idle, ms, p99 (the stack's {bare_p99:.1f} + 20)", p99, bare_p99 + 20)
    say(
        f"\nOf the calls, {POLLER_CALLS} per delivery are the ReceiveMessage and DeleteMessageBatch that Lambda's own "
        f"poller makes for each batch of 10:\nby arithmetic, for inside the stand-in no proxy sees them. "
        f"What the stack itself takes: PutItem, SendMessageBatch, and a function\nthat only posts. "
        f"{LATENCIES} events each, so the p99 is about the slowest."
    )


def line(what, measured, bar):
    """One number beside its bar, which is the most it may be."""
    ratio = measured / bar
    say(f"{what:<62}{measured:>9.2f}{bar:>8.2f}{ratio:>7.2f}  {'ok' if ratio <= 1 else 'MISSED'}")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = ROOT / "target" / "release"
    parser.add_argument("--bin-dir", type=Path, default=where, help="where receiver and examples are")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: run(arguments))
