"""`make run`: the whole journey of one webhook on the local stack, told step by step.

PORT and RECEIVER_PORT choose the ports; ONCE=1 ends after the story instead of staying up.
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
from story import told

DELIVERY_SECONDS = 30


def options():
    """What the environment, hence make's command line, asks for."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    chosen = parser.parse_args([])
    chosen.port = port("PORT", 4566)
    chosen.receiver_port = port("RECEIVER_PORT", 4580)
    chosen.once = os.environ.get("ONCE", "") not in ("", "0")
    return chosen


def port(variable, default):
    """A port from the environment."""
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Problem(f"{variable}={text} is not a port")
    return int(text)


def end_older(name):
    """Stop a run of this script that is still up in this checkout, so that the new one takes its place."""
    for run_dir in RUNS.glob(f"{name}-*"):
        pid = int(run_dir.name.rpartition("-")[2])
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if not any(word.endswith(f"{name}.py".encode()) for word in command):
            continue  # the number now belongs to something else
        say(f"Stopping the stack of an earlier `make run` (process {pid}) ...")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise Problem(f"the earlier `make run`, process {pid}, does not stop")
            time.sleep(0.05)


class Inbox:
    """What the local receiver has seen, read from its output as it grows."""

    def __init__(self, stack, port):
        self.log = stack.run_dir / "logs" / "receiver.log"
        self.secrets = stack.run_dir / "receiver-secrets"
        self.process = stack.start(
            "receiver",
            [PYTHON, Path(__file__).with_name("receiver.py"), "--port", port, "--secrets", self.secrets],
            os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.read = 0

    def trust(self, secret):
        """Let the receiver verify with this signing key."""
        self.secrets.touch(mode=0o600)
        self.secrets.write_text(secret + "\n")

    def new(self):
        """The requests that came since the last call."""
        if self.process.poll() is not None:
            raise Problem(f"the receiver has ended:\n{self.log.read_text()[-2000:]}")
        lines = self.log.read_text().splitlines(keepends=True)[self.read :]
        whole = [line for line in lines if line.endswith("\n")]
        self.read += len(whole)
        return [json.loads(line) for line in whole if line.startswith("{")]


def seed(deployed, inbox, receiver_url):
    """A tenant with a key, an endpoint and a Stripe source."""
    operator = Client(deployed["api_url"], deployed["operator_key"])
    tenant = operator.post("/v1/tenants", {"id": "demo", "name": "Demo CRM"})
    key = operator.post(f"/v1/tenants/{tenant['id']}/keys", {"name": "demo"})
    client = Client(deployed["api_url"], key["key"])
    endpoint = client.post(
        "/v1/endpoints",
        {"url": receiver_url, "event_types": ["contact.*", "stripe.*"], "description": "local receiver"},
    )
    inbox.trust(endpoint["secret"])
    # Made up, in the shape that Stripe gives out.
    stripe_secret = f"whsec_{secrets.token_hex(16)}"
    source = client.post("/v1/sources", {"provider": "stripe", "secrets": [stripe_secret]})
    seeded = {"tenant": tenant, "key": key, "endpoint": endpoint, "source": source, "stripe_secret": stripe_secret}
    return client, seeded


def publish(client, inbox):
    """One event, from its acceptance to the record of its delivery."""
    event = client.post(
        "/v1/events",
        {"type": "contact.created", "data": {"id": "con_42", "name": "Ada Lovelace"}},
        Idempotency_Key=f"demo-{time.time_ns()}",
    )
    deadline = time.monotonic() + DELIVERY_SECONDS
    received = None
    while time.monotonic() < deadline:
        received = received or next(iter(inbox.new()), None)
        deliveries = client.get(f"/v1/events/{event['id']}/deliveries")["data"]
        if received and deliveries and deliveries[0]["status"] == "succeeded":
            return event, received, client.get(f"/v1/deliveries/{deliveries[0]['id']}")
        time.sleep(0.05)
    state = "and its request arrived" if received else "and no request arrived"
    raise Problem(f"event {event['id']} was accepted {state}, but no delivery succeeded in {DELIVERY_SECONDS} s")


def run():
    """Everything, from the check of the machine to the last line of the story."""
    began = time.monotonic()
    chosen = options()
    stop_on_signals()
    end_older("demo")
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
                raise Problem(f"the receiver refused the signature: {received['error']}")
            for process in stack.processes:
                procs.require_loopback(process)
        except BaseException:
            keep = stack.run_dir / "logs"
            say(f"The logs of this run stay in {keep} until the next one.")
            raise
        say(told(stack.state, deployed, receiver_url, seeded, event, received, delivery))
        say(f"All of it took {time.monotonic() - began:.1f} s.")
        if not chosen.once:
            say("The stack stays up. Ctrl-C stops it; what the receiver gets is shown here.")
            stay(stack, inbox)


def stay(stack, inbox):
    """Show what arrives until Ctrl-C."""
    starter = os.getppid()
    try:
        while os.getppid() == starter:
            for seen in inbox.new():
                verdict = "signature verified" if seen["error"] is None else f"REFUSED: {seen['error']}"
                say(f"receiver: {seen['headers'].get('webhook-id')} {seen['body'][:200]} ({verdict})")
            if any(process.poll() is not None for process in stack.processes):
                raise Problem(f"a part of the stack has ended; see {stack.state['log_dir']}")
            time.sleep(0.2)
    except KeyboardInterrupt:
        say("\nStopped; nothing is left running.")


if __name__ == "__main__":
    main(run)
