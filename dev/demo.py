"""`make run`: one webhook from publish to delivery on the local stack.

PORT and RECEIVER_PORT choose the ports. ONCE=1 exits after the report instead of staying up.
"""

import argparse
import json
import os
import secrets
import signal
import time
from pathlib import Path

import procs
from base import RUNS, Problem, main, printable, say
from build import build
from client import Client
from parts import StandInFunctions, stay_up
from setup import setup
from stack import PYTHON, Stack, add_options, stop_on_signals
from report import report
from terminal import Condenser, Tail

DELIVERY_SECONDS = 30

PORTS = {"PORT": 4566, "RECEIVER_PORT": 4580, "WATCH_PORT": 4590}
# The variables with the ports of each script.
PORTS_OF = {"demo": ("PORT", "RECEIVER_PORT"), "watch": ("PORT", "WATCH_PORT")}


def options():
    """Options from the environment, which make sets from its command line."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    chosen = parser.parse_args([])
    chosen.port = port("PORT")
    chosen.receiver_port = port("RECEIVER_PORT")
    chosen.once = os.environ.get("ONCE", "") not in ("", "0")
    return chosen


def port(variable, environment=os.environ):
    """A port number from the environment."""
    text = environment.get(variable) or str(PORTS[variable])
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise Problem(f"{variable}={text} is not a port number")
    return int(text)


def stop_earlier_run(name):
    """Stop a run of this script that is still up in this checkout with one of our ports."""
    ours = {port(variable) for variable in PORTS_OF[name]}
    for run_dir in RUNS.glob(f"{name}-*"):
        pid = int(run_dir.name.rpartition("-")[2])
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if not any(word.endswith(f"{name}.py".encode()) for word in command):
            continue  # another process has the number now
        environment = procs.variables(pid)
        if not ours & {port(variable, environment) for variable in PORTS_OF[name]}:
            continue
        say(f"Stopping an earlier run (process {pid}) ...")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise Problem(f"the earlier run (process {pid}) did not stop within 15 s")
            time.sleep(0.05)


class Inbox:
    """The requests that the local receiver got, read from its growing log."""

    def __init__(self, stack, receiver_port):
        self.secrets = stack.run_dir / "receiver-secrets"
        self.part = stack.start(
            "receiver",
            "The receiver",
            [PYTHON, Path(__file__).with_name("receiver.py"), "--port", receiver_port, "--secrets", self.secrets],
            os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.log = Tail(self.part.log)
        self.shown = Condenser("webhooks")

    def set_signing_key(self, secret):
        """Make the receiver verify with this signing key."""
        self.secrets.touch(mode=0o600)
        self.secrets.write_text(secret + "\n")

    def new_requests(self):
        """The requests that arrived since the last call."""
        if self.part.process.poll() is not None:
            raise Problem(f"the receiver ended:\n{self.part.log.read_text(errors='replace')[-2000:]}")
        requests = [parse(line) for line in self.log.lines()]
        return [request for request in requests if request]

    def show(self):
        """Print the requests that arrived since the last call, and what else the receiver printed."""
        for line in self.log.lines():
            request = parse(line)
            if request is None:
                # Not a request, or part of one: shown as it is.
                self.shown.show(f"receiver: {printable(line)}")
                continue
            error = request["error"]
            result = "signature verified" if error is None else f"rejected: {error}"
            webhook_id = request["headers"].get("webhook-id", "without webhook-id")
            text = printable(f"{webhook_id} {request['body'][:200]} ({result})")
            self.shown.show(f"receiver: {text}", None if error is None else "rejected")
        self.shown.flush()


def parse(line):
    """The request that a line of the receiver describes, or None."""
    try:
        request = json.loads(line)
        return request if {"path", "headers", "body", "error"} <= request.keys() else None
    except (ValueError, AttributeError):
        return None


def seed(deployed, inbox, receiver_url):
    """Create a tenant with a key, an endpoint and a Stripe source."""
    operator = Client(deployed["api_url"], deployed["operator_key"])
    tenant = operator.post("/v1/tenants", {"id": "demo", "name": "Demo CRM"})
    key = operator.post(f"/v1/tenants/{tenant['id']}/keys", {"name": "demo"})
    client = Client(deployed["api_url"], key["key"])
    endpoint = client.post(
        "/v1/endpoints",
        {"url": receiver_url, "event_types": ["contact.*", "stripe.*"], "description": "local receiver"},
    )
    inbox.set_signing_key(endpoint["secret"])
    # Random, in the form of Stripe's own.
    stripe_secret = f"whsec_{secrets.token_hex(16)}"
    source = client.post("/v1/sources", {"provider": "stripe", "secrets": [stripe_secret]})
    seeded = {"tenant": tenant, "key": key, "endpoint": endpoint, "source": source, "stripe_secret": stripe_secret}
    return client, seeded


def publish(client, inbox):
    """Publish one event and wait until its delivery is recorded."""
    event = client.post(
        "/v1/events",
        {"type": "contact.created", "data": {"id": "con_42", "name": "Ada Lovelace"}},
        Idempotency_Key=f"demo-{time.time_ns()}",
    )
    deadline = time.monotonic() + DELIVERY_SECONDS
    received = None
    while time.monotonic() < deadline:
        received = received or next(iter(inbox.new_requests()), None)
        deliveries = client.get(f"/v1/events/{event['id']}/deliveries")["data"]
        if received and deliveries and deliveries[0]["status"] == "succeeded":
            return event, received, client.get(f"/v1/deliveries/{deliveries[0]['id']}")
        time.sleep(0.05)
    arrived = "its request arrived" if received else "no request arrived"
    raise Problem(f"event {event['id']} was not delivered within {DELIVERY_SECONDS} s ({arrived})")


def run():
    """Set up, deploy, deliver one webhook, and report."""
    started, starter = time.monotonic(), os.getppid()
    chosen = options()
    stop_on_signals()
    stop_earlier_run("demo")
    procs.require_free(chosen.port, "the local stack", "PORT")
    procs.require_free(chosen.receiver_port, "the receiver", "RECEIVER_PORT")
    setup(["stack", "sam"])
    say("Building the functions ...")
    build()
    say("Starting the local stack and deploying template.yaml to it ...")
    with Stack(chosen, name="demo") as stack:
        try:
            deployed = stack.state["stacks"][chosen.stack_name]
            receiver_url = f"http://127.0.0.1:{chosen.receiver_port}/webhooks"
            inbox = Inbox(stack, chosen.receiver_port)
            client, seeded = seed(deployed, inbox, receiver_url)
            event, received, delivery = publish(client, inbox)
            if received["error"]:
                raise Problem(f"the receiver rejected the signature: {received['error']}")
            for part in stack.parts:
                procs.require_loopback(part.process)
        except BaseException:
            say(f"The logs are in {stack.run_dir / 'logs'} until the next run.")
            raise
        say(report(stack.state, deployed, receiver_url, seeded, event, received, delivery))
        say(f"Finished in {time.monotonic() - started:.1f} s.")
        if not chosen.once:
            say("The stack is running. Press Ctrl-C to stop it. Requests to the receiver are shown below.")
            functions = StandInFunctions(stack.stand_in, stack.function_names())
            stay_up(starter, inbox.show, stack.check, functions.check)


if __name__ == "__main__":
    main(run)
