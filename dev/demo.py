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
from base import RUNS, Problem, main, say
from build import build
from client import Client
from setup import setup
from stack import PYTHON, Stack, add_options, stop_on_signals
from report import report

DELIVERY_SECONDS = 30


def options():
    """Options from the environment, which make sets from its command line."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    chosen = parser.parse_args([])
    chosen.port = port("PORT", 4566)
    chosen.receiver_port = port("RECEIVER_PORT", 4580)
    chosen.once = os.environ.get("ONCE", "") not in ("", "0")
    return chosen


def port(variable, default):
    """A port number from the environment."""
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Problem(f"{variable}={text} is not a port number")
    return int(text)


def stop_earlier_run(name):
    """Stop a run of this script that is still up in this checkout, because it holds the ports."""
    for run_dir in RUNS.glob(f"{name}-*"):
        pid = int(run_dir.name.rpartition("-")[2])
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if not any(word.endswith(f"{name}.py".encode()) for word in command):
            continue  # another process has the number now
        say(f"Stopping an earlier run (process {pid}) ...")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise Problem(f"the earlier run (process {pid}) did not stop within 15 s")
            time.sleep(0.05)


class Inbox:
    """The requests that the local receiver got, read from its growing log."""

    def __init__(self, stack, port):
        self.log = stack.run_dir / "logs" / "receiver.log"
        self.secrets = stack.run_dir / "receiver-secrets"
        self.process = stack.start(
            "receiver",
            [PYTHON, Path(__file__).with_name("receiver.py"), "--port", port, "--secrets", self.secrets],
            os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.lines_read = 0

    def set_signing_key(self, secret):
        """Make the receiver verify with this signing key."""
        self.secrets.touch(mode=0o600)
        self.secrets.write_text(secret + "\n")

    def new_requests(self):
        """The requests that arrived since the last call."""
        if self.process.poll() is not None:
            raise Problem(f"the receiver exited:\n{self.log.read_text()[-2000:]}")
        lines = self.log.read_text().splitlines(keepends=True)[self.lines_read :]
        complete = [line for line in lines if line.endswith("\n")]
        self.lines_read += len(complete)
        return [json.loads(line) for line in complete if line.startswith("{")]


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
    started = time.monotonic()
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
            for process in stack.processes:
                procs.require_loopback(process)
        except BaseException:
            say(f"The logs are in {stack.run_dir / 'logs'} until the next run.")
            raise
        say(report(stack.state, deployed, receiver_url, seeded, event, received, delivery))
        say(f"Finished in {time.monotonic() - started:.1f} s.")
        if not chosen.once:
            say("The stack is running. Press Ctrl-C to stop it. Requests to the receiver are shown below.")
            show_requests(stack, inbox)


def show_requests(stack, inbox):
    """Print each request to the receiver until Ctrl-C."""
    starter = os.getppid()
    try:
        while os.getppid() == starter:
            for request in inbox.new_requests():
                result = "signature verified" if request["error"] is None else f"rejected: {request['error']}"
                say(f"receiver: {request['headers'].get('webhook-id')} {request['body'][:200]} ({result})")
            if any(process.poll() is not None for process in stack.processes):
                raise Problem(f"a process of the stack exited; see {stack.state['log_dir']}")
            time.sleep(0.2)
    except KeyboardInterrupt:
        say("\nStopped.")


if __name__ == "__main__":
    main(run)
