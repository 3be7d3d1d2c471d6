"""`make watch`: the local stack with the functions under `cargo lambda watch`, rebuilt on every change.

The deployed functions are empty and their mappings are off. HTTP goes straight to cargo-lambda, relays send it the
messages of the queues, and a timer runs the scheduler every minute. The functions act as the account's owner here, so
roles are not tested; `make run` and `make test` do that.
"""

import json
import os
import queue
import socket
import threading
import time

import procs
from aws import Aws, http
from base import ROOT, Problem, aws_env, main, say
from build import BINARIES
from demo import options, port, stop_earlier_run
from parts import WatchedFunctions, stay_up
from relay import Relay
from setup import search_path, setup
from stack import Stack, stop_on_signals
from terminal import Condenser, Repeats, Tail

# The function that consumes each queue, by the template's output.
QUEUES = {
    "FastLaneUrl": "dispatcher",
    "SlowLaneUrl": "dispatcher",
    "FanOutPagesUrl": "fanout",
    "DeadLettersUrl": "rescuer",
    "ConnectionsQueueUrl": "token-refresher",
    "CalendarSyncQueueUrl": "calendar-sync",
    "MlsSyncQueueUrl": "mls-sync",
}

# Period of the scheduler's job for due deliveries, as in the template.
DUE_SECONDS = 60

INSTRUCTIONS = """
   API           {base}/lambda-url/api/v1
   Stripe        {base}/lambda-url/inbound-stripe/in/stripe/SOURCE_ID
   others        {base}/lambda-url/inbound-custom/in/PROVIDER/SOURCE_ID
   OAuth         {base}/lambda-url/oauth/oauth/
   AWS endpoint  {endpoint_url}  (access key and secret `test`, region {region})
   operator key  {operator_key}
   logs          {log_dir}

   curl -sS {base}/lambda-url/api/v1/tenants -H 'Authorization: Bearer {operator_key}' \\
     -H 'Content-Type: application/json' --data '{{"id":"demo","name":"Demo CRM"}}'

A function is built on its first call. Press Ctrl-C to stop.
"""


def empty_functions(run_dir):
    """Placeholders to deploy; they never run."""
    directory = run_dir / "empty"
    directory.mkdir()
    for name in BINARIES:
        (directory / name).write_text("#!/bin/sh\nexit 1\n")
    return directory


def environment(aws, deployed):
    """The variables of all functions together, because cargo-lambda gives each function the same ones."""
    merged = {}
    for function in deployed["functions"].values():
        configured = aws.rest("lambda", "GET", f"/2015-03-31/functions/{function}/configuration")
        merged |= configured["Environment"]["Variables"]
    # Here the API and the inbound functions have different addresses, so one URL cannot serve both.
    return merged | {"PUBLIC_URL": ""}


def disable_mappings(aws, function):
    """Stop the stack's own poller, which would compete with the relay."""
    mappings = "/2015-03-31/event-source-mappings/"
    for mapping in aws.rest("lambda", "GET", f"{mappings}?FunctionName={function}")["EventSourceMappings"]:
        aws.rest("lambda", "PUT", mappings + mapping["UUID"], {"Enabled": False})


def start_watch(stack, deployed, watch_port):
    """Start cargo-lambda and wait until it listens. Its output goes to a log."""
    aws = Aws(stack.state["endpoint_url"])
    for function in deployed["functions"].values():
        disable_mappings(aws, function)
    env = aws_env(stack.state["endpoint_url"], **environment(aws, deployed), PATH=search_path())
    command = ["cargo", "lambda", "watch", "--invoke-address", "127.0.0.1", "--invoke-port", watch_port]
    part = stack.start("watch", "cargo lambda watch", command, env, ROOT)
    deadline = time.monotonic() + 60
    while part.process.poll() is None and time.monotonic() < deadline:
        try:
            # A request would be one for an unknown function, which cargo-lambda logs as an error.
            socket.create_connection(("127.0.0.1", watch_port), timeout=2).close()
            return part
        except OSError:
            time.sleep(0.2)
    raise Problem("cargo lambda watch did not start:\n" + part.log.read_text(errors="replace")[-3000:])


def run_scheduler(base, stopped, report):
    """Run the job for due deliveries every minute in the background, until `stopped` is set."""

    def work():
        body = json.dumps({"job": "due"}).encode()
        while not stopped.wait(DUE_SECONDS):
            try:
                http("POST", f"{base}/2015-03-31/functions/scheduler/invocations", body, timeout=600)
            except Problem as problem:
                report(f"scheduler: {problem}")

    threading.Thread(target=work, daemon=True).start()


class Output:
    """What the terminal shows: cargo's output as it is, the functions' log lines condensed, failures of our threads."""

    def __init__(self, part):
        self.part = part
        self.log = Tail(part.log)
        self.functions = Condenser(f"log lines of functions, which are in {part.log},")
        self.failures = queue.SimpleQueue()
        self.repeats = Repeats()

    def show(self):
        """Print what is new since the last call."""
        for line in self.log.lines():
            if line.startswith("{"):
                self.functions.show(line)
            else:
                say(line)
        self.functions.flush()
        while not self.failures.empty():
            self.repeats.show(self.failures.get())


def run():
    """Run stack, cargo-lambda and relays until Ctrl-C."""
    starter = os.getppid()
    chosen = options()
    watch_port = port("WATCH_PORT")
    stop_on_signals()
    stop_earlier_run("watch")
    procs.require_free(chosen.port, "the local stack", "PORT")
    procs.require_free(watch_port, "cargo lambda watch", "WATCH_PORT")
    setup(["stack", "sam", "build"])
    say("Starting the local stack ...")
    stack = Stack(chosen, name="watch")
    chosen.bin_dir = empty_functions(stack.run_dir)
    with stack:
        deployed = stack.state["stacks"][chosen.stack_name]
        say("Starting cargo lambda watch ...")
        part = start_watch(stack, deployed, watch_port)
        procs.require_loopback(part.process)
        output = Output(part)
        base = f"http://127.0.0.1:{watch_port}"
        relays = [
            Relay(
                stack.state["endpoint_url"],
                deployed["outputs"][url],
                f"{base}/2015-03-31/functions/{function}/invocations",
                output.failures.put,
            )
            for url, function in QUEUES.items()
        ]
        for relay in relays:
            relay.start()
        stopped = threading.Event()
        run_scheduler(base, stopped, output.failures.put)
        say(INSTRUCTIONS.format(base=base, **stack.state, operator_key=deployed["operator_key"]))
        try:
            stay_up(starter, output.show, stack.check, WatchedFunctions(part, BINARIES).check)
        finally:
            stopped.set()
            for relay in relays:
                relay.stop()


if __name__ == "__main__":
    main(run)
