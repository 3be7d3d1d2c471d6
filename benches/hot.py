"""Measures CPU per event and per delivery of functions that are fed back to back, beside floors of the same run.

dev/stack.py with --bin-dir DIR -- hot.py [--bin-dir DIR] [--save]

The rig (`hot-rig` of testkit) is each function's Runtime API and its AWS, which responds at once: writes succeed
without effect, and what a function reads comes from the real stack, once. So nothing but the function's own process is
measured, with warm caches. The receiver of the webhooks is a process of its own. Machines differ, so the ratios to the
floors count; they are compared with those in benches/hot.json.

At the end it prints what memory sizes of Lambda would cost: a function has CPU in proportion to its memory, and waits
for AWS as long at any size.

PROFILE=1 records each function with perf and prints the top of the profile, by crate and by symbol.
"""

import argparse
import collections
import hmac
import json
import math
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

from rig import EVENT, Receiver, Rig, bare_client, cpu_seconds, environment_of, expect, peak_memory

# pylint: disable=wrong-import-order
from base import ROOT, main, say

# A ratio that moved by more than this since it was saved is reported.
MOVED = 0.15
SAVED = Path(__file__).with_name("hot.json")

# A function of this memory has one CPU.
# Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
ONE_CPU_MB = 1769
MEMORY_SIZES = (128, 256, 512, 1024)
# List price in us-east-1 for arm64, in dollars: https://aws.amazon.com/lambda/pricing/
GB_SECOND = 0.0000133334
# What is priced: the scenario, which of its functions, how many of its messages are an invocation (None: it counts
# invocations), and what one waits for apart from its own CPU, in ms. A write to DynamoDB and a send take about 5 and 10,
# an endpoint 200. These are assumptions, the same at each size.
PRICED = {
    "api, single publish": ("single", 0, None, 15),
    "api, batch of 100": ("batch", 0, None, 25),
    "api, fan-out 10": ("fan-out 10", 0, None, 15),
    "dispatcher, batch of 10": ("batch", 1, 10, 210),
    "inbound-stripe": ("Stripe", 0, None, 20),
    "inbound-custom": ("Custom", 0, None, 20),
}

STRIPE_SECRET = "whsec_test_key_of_the_benchmark"
STRIPE_EVENT = json.dumps(
    {"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1700000000, "data": {"object": EVENT["data"]}}
)


class Hot:
    """The stack and the set-up of the rig."""

    def __init__(self, bin_dir, receiver):
        self.bin_dir = bin_dir
        self.receiver = receiver
        self.rig = Rig()
        self.keys = {}
        for endpoints in (1, 10):
            client = self.rig.tenant()
            for index in range(endpoints):
                expect(201, client("POST", "/v1/endpoints", {"url": f"{receiver.url}/{index}"}))
            self.keys[endpoints] = client.headers["Authorization"]
        source = {"provider": "stripe", "secrets": [STRIPE_SECRET]}
        self.source_id = expect(201, client("POST", "/v1/sources", source))["id"]
        source = {"provider": "github", "secrets": [STRIPE_SECRET]}
        self.custom_source_id = expect(201, client("POST", "/v1/sources", source))["id"]
        # A request, so that a process of each of these functions shows its environment.
        expect(202, client("POST", "/v1/events", EVENT))
        receiver.wait(10)

    def environment(self, name):
        """The variables of a function, with the credentials that a running one has."""
        pid = next(pid for pid, running in self.rig.functions().items() if running == "api")
        variables = environment_of(pid)
        kept = {key: value for key, value in variables.items() if key.startswith(("AWS_", "PATH"))}
        if name not in self.rig.deployed["functions"]:
            return kept | {"EVENTS_TABLE": variables["EVENTS_TABLE"]}
        path = f"/2015-03-31/functions/{self.rig.deployed['functions'][name]}/configuration"
        own = self.rig.aws.rest("lambda", "GET", path)["Environment"]["Variables"]
        return kept | own | {"AWS_LAMBDA_FUNCTION_NAME": self.rig.deployed["functions"][name]}

    def functions(self):
        """The functions that the scenarios name."""
        examples = {"hello_lambda", "sdk_call"}
        names = {row[key] for row in self.scenarios() for key in ("function", "consumer") if row.get(key)}
        where = {name: self.bin_dir / "examples" / name if name in examples else self.bin_dir / name for name in names}
        return {name: {"binary": str(where[name]), "environment": self.environment(name)} for name in names}

    def request(self, endpoints, path, body):
        """A request of the tenant with this number of endpoints."""
        headers = {"authorization": self.keys[endpoints], "content-type": "application/json"}
        request = {"method": "POST", "path": path, "headers": headers, "body": json.dumps(body, separators=(",", ":"))}
        return {"request": request}

    def stripe_request(self):
        """A request of Stripe, whose signature is accepted for five minutes."""
        at = int(time.time())
        mac = hmac.new(STRIPE_SECRET.encode(), f"{at}.{STRIPE_EVENT}".encode(), "sha256")
        headers = {"stripe-signature": f"t={at},v1={mac.hexdigest()}", "content-type": "application/json"}
        path = f"/in/stripe/{self.source_id}"
        return {"request": {"method": "POST", "path": path, "headers": headers, "body": STRIPE_EVENT}}

    def custom_request(self):
        """A request of GitHub, at the function that serves most providers."""
        body = json.dumps({"action": "opened", "number": 1, "repository": EVENT["data"]})
        mac = hmac.new(STRIPE_SECRET.encode(), body.encode(), "sha256").hexdigest()
        headers = {"x-hub-signature-256": f"sha256={mac}", "x-github-event": "issues", "x-github-delivery": "d-1"}
        path = f"/in/github/{self.custom_source_id}"
        headers["content-type"] = "application/json"
        return {"request": {"method": "POST", "path": path, "headers": headers, "body": body}}

    def scenarios(self):
        """What is measured: a new function is a row."""
        single, batch = "/v1/events", "/v1/events/batch"
        hundred = {"events": [EVENT] * 100}
        delivered = {"function": "api", "consumer": "dispatcher"}
        return [
            {"name": "bare loop", "function": "hello_lambda", "input": {"same": {}}, "warm": 500, "rounds": 10},
            {"name": "SDK call", "function": "sdk_call", "input": {"same": {}}, "warm": 200, "rounds": 10},
            # Early, as the signature expires.
            {"name": "Stripe", "function": "inbound-stripe", "input": self.stripe_request(), "warm": 200, "rounds": 10},
            {"name": "Custom", "function": "inbound-custom", "input": self.custom_request(), "warm": 200, "rounds": 10},
            {"name": "single", "input": self.request(1, single, EVENT), "warm": 200, "rounds": 10} | delivered,
            {"name": "batch", "input": self.request(1, batch, hundred), "warm": 5, "rounds": 10} | delivered,
            {"name": "fan-out 10", "input": self.request(10, single, EVENT), "warm": 50, "rounds": 10} | delivered,
        ]

    def measure(self):
        """CPU of each scenario's functions per invocation and message, in µs."""
        setup = {"upstream": self.rig.aws.endpoint_url, "functions": self.functions(), "scenarios": self.scenarios()}
        command = [self.bin_dir / "hot-rig"]
        results = {}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            process.stdin.write(json.dumps(setup) + "\n")
            process.stdin.flush()
            before, profiles = {}, []
            for text in process.stdout:
                line = json.loads(text)
                if line["stage"] == "warm":
                    profiles = [profile(pid, line["scenario"]) for pid in line["pids"] if pid]
                    before = {pid: cpu_seconds(pid) for pid in line["pids"] if pid}
                elif line["stage"] == "done":
                    spent = [(cpu_seconds(pid) - before[pid]) * 1e6 for pid in line["pids"] if pid]
                    peaks = [peak_memory(pid) for pid in line["pids"] if pid]
                    for stop in profiles:
                        stop()
                    results[line["scenario"]] = (line["invocations"], line["messages"], spent, peaks)
                else:
                    say(f"reads that went to the stack: {line['forwarded']}")
                process.stdin.write("\n")
                process.stdin.flush()
                if line["stage"] == "end":
                    break
        expect(0, (process.wait(), "the rig failed"))
        return results


def show_memory(rows):
    """What a million invocations of each function cost, and how long one takes, by memory."""
    say(f"\n{'$ per million invocations / ms of one':<28}{'peak MB':>8}" + "".join(f"{mb:>16} MB" for mb in MEMORY_SIZES))
    for name, micros, wait, peak in rows:
        shown = []
        for megabytes in MEMORY_SIZES:
            millis = micros / 1000 * ONE_CPU_MB / megabytes + wait
            # Each invocation is rounded up to a millisecond.
            dollars = math.ceil(millis) * 1000 * megabytes / 1024 * GB_SECOND
            shown.append(f"{f'{dollars:.2f} / {millis:.0f}':>19}")
        say(f"{name:<28}{peak:>8.0f}" + "".join(shown))


def profile(pid, scenario):
    """Records a process, if that is asked for; returns what ends the recording and prints its top."""
    if not os.environ.get("PROFILE"):
        return lambda: None
    data = ROOT / "target" / f"perf-{pid}.data"
    recorder = subprocess.Popen(
        ["perf", "record", "-q", "-F", "2000", "-g", "-o", data, "-p", str(pid)], stdin=subprocess.DEVNULL
    )
    time.sleep(0.5)

    def stop():
        recorder.send_signal(2)
        recorder.wait()
        say(f"\n{scenario}, process {pid}:")
        report = ["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "-F", "overhead,sym"]
        out = subprocess.run(report, capture_output=True, text=True, check=False).stdout
        show_profile(out)
        data.unlink(missing_ok=True)

    return stop


ALLOCATOR = re.compile(r"(_?_?(int_)?(malloc|free|calloc|realloc|cfree)\b|_int_free|malloc_|unlink_chunk|mi_|tcache)")
CRATE = re.compile(r"<*&?(?:mut |dyn )?\(?([a-z][a-z0-9_]*)::")


def subject_of(symbol, kernel):
    """Whose time a sample is."""
    if kernel:
        return "kernel"
    if ALLOCATOR.match(symbol):
        return "allocator"
    crate = CRATE.match(symbol)
    return crate.group(1) if crate else "libc and other"


def show_profile(report):
    """The shares of crates, then the symbols above one per cent."""
    subjects, symbols = collections.Counter(), []
    for row in report.splitlines():
        match = re.match(r"\s*([\d.]+)%\s+\[(.)\]\s+(.*?)\s*$", row)
        if match:
            share, kind, symbol = float(match.group(1)), match.group(2), match.group(3)
            subjects[subject_of(symbol, kind == "k")] += share
            symbols.append((share, symbol))
    say("  " + ", ".join(f"{name} {share:.1f}" for name, share in subjects.most_common() if share >= 0.5))
    for share, symbol in symbols:
        if share >= 1:
            say(f"  {share:5.1f}  {symbol[:140]}")


def run(options):
    """Measure everything, then print it beside its floors and limits."""
    with Receiver(options.bin_dir / "receiver") as receiver:
        hot = Hot(options.bin_dir, receiver)
        bares, samples = [], []
        for _ in range(options.samples):
            bares.append(bare_client(options.bin_dir, receiver.url))
            samples.append(hot.measure())
    post = statistics.median(bares) * 1e6

    def per(scenario, index, unit):
        """The median of µs per invocation (unit 0) or message (unit 1) of a scenario's function."""
        return statistics.median(sample[scenario][2][index] / sample[scenario][unit] for sample in samples)

    loop, call = per("bare loop", 0, 0), per("SDK call", 0, 0)
    say(f"\nfloors, µs: bare signed post {post:.0f}, bare loop {loop:.0f}, loop with an SDK call {call:.0f}")
    calls = call - loop
    delivered = {
        "single": per("single", 0, 1) + per("single", 1, 1),
        "fan-out 10": per("fan-out 10", 0, 1) + per("fan-out 10", 1, 1),
    }
    rows = [
        ("api, single publish / (two SDK calls + loop)", per("single", 0, 0), 2 * calls + loop, 1.3),
        ("api, batch publish, per event / post", per("batch", 0, 1), post, 1.8),
        ("dispatcher, batches of 10, per delivery / post", per("batch", 1, 1), post, 3.0),
        ("inbound-stripe / (three SDK calls + loop)", per("Stripe", 0, 0), 3 * calls + loop, 1.3),
        ("inbound-custom / (three SDK calls + loop)", per("Custom", 0, 0), 3 * calls + loop, 1.3),
        ("all, per delivery at fan-out 1 / post", delivered["single"], post, None),
        ("all, per delivery at fan-out 10 / post", delivered["fan-out 10"], post, None),
    ]
    saved = json.loads(SAVED.read_text(encoding="utf-8")) if SAVED.exists() else {}
    say(f"\n{'measure':<58}{'µs':>8}{'floor':>8}{'ratio':>7}{'limit':>7}{'saved':>7}")
    ratios = {}
    for name, measured, floor, limit in rows:
        ratio = ratios[name] = round(measured / floor, 2)
        verdict = "" if limit is None else ("  ok" if ratio <= limit else "  MISSED")
        before = saved.get(name)
        if before and abs(ratio / before - 1) > MOVED:
            verdict += f"  MOVED by {ratio / before - 1:+.0%}"
        shown = f"{limit:>7.2f}" if limit else f"{'':>7}"
        say(f"{name:<58}{measured:>8.0f}{floor:>8.0f}{ratio:>7.2f}{shown}{before or 0:>7.2f}{verdict}")
    priced = []
    for name, (scenario, index, messages, wait) in PRICED.items():
        micros = per(scenario, index, 1) * messages if messages else per(scenario, index, 0)
        priced.append((name, micros, wait, max(sample[scenario][3][index] for sample in samples)))
    show_memory(priced)
    if options.save:
        SAVED.write_text(json.dumps(ratios, indent=2) + "\n", encoding="utf-8")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = ROOT / "target" / "release"
    parser.add_argument("--bin-dir", type=Path, default=where, help="directory of the functions and the examples")
    parser.add_argument("--samples", type=int, default=3, help="runs of everything, of which medians are taken")
    parser.add_argument("--save", action="store_true", help="save the ratios to compare later runs with")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: run(arguments))
