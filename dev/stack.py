"""The local stack: `up` runs one, `deploy` adds a copy of the template, `with` runs a command on one.

The state file is the interface to the Rust test kit; dev/README.md describes it.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import procs
import sweep
from aws import http
from base import ADMIN, LOCAL, REGION, ROOT, Problem, aws_env, main, new_run_dir, say
from deploy import deploy, remove
from parts import Part

PYTHON = LOCAL / "stack" / "bin" / "python"
START_SECONDS = 30
# MiniStack keeps all data in Python objects, and with Python's own thresholds an eighth of its time is spent on looking
# for garbage among them.
MINISTACK = "import gc, runpy; gc.set_threshold(100_000, 20, 100); runpy.run_module('ministack', run_name='__main__')"
INHERITED = {"PATH", "HOME", "LANG", "LC_ALL"}


class Stack:
    """A running stand-in with the template deployed, as a context manager that stops all its processes."""

    def __init__(self, options, name="stack", state_file=None):
        self.options = options
        self.run_dir = new_run_dir(name)
        self.state_file = Path(state_file) if state_file else self.run_dir / "state.json"
        port = options.port or procs.free_port()
        self.state = {
            "endpoint_url": f"http://127.0.0.1:{port}",
            "region": REGION,
            "access_key_id": ADMIN,
            "secret_access_key": ADMIN,
            "log_dir": str(self.run_dir / "logs"),
            # Deployments that are added later get the same, unless they are given others.
            "parameters": dict(options.param),
            "stacks": {},
        }
        self.port = port
        self.parts = []

    def __enter__(self):
        try:
            procs.require_free(self.port, "the local stack", "PORT")
            functions_endpoint = self._start_proxy() or self.options.aws_proxy or self.state["endpoint_url"]
            self.stand_in = self._start_stand_in(functions_endpoint)
            self._await_ready(self.stand_in.process)
            self.add(self.options.stack_name, ROOT / "template.yaml", self.state["parameters"])
            procs.require_loopback(self.stand_in.process)
            save(self.state_file, self.state)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not interrupt the cleanup.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for part in reversed(self.parts):
            part.stop()
        self.state_file.unlink(missing_ok=True)

    def start(self, name, title, command, env, cwd=None, loss=None):
        """Start a background process of this run. It is stopped with the stack. See `Part` for title and loss."""
        part = Part(title, command, env, self.run_dir / "logs" / f"{name}.log", cwd, loss)
        self.parts.append(part)
        return part

    def check(self):
        """Report parts that have ended, and start those again that have no state."""
        for part in self.parts:
            part.check()

    def function_names(self):
        """The short names of all deployed functions, by their deployed names."""
        stacks = self.state["stacks"].values()
        return {deployed: name for stack in stacks for name, deployed in stack["functions"].items()}

    def add(self, name, template, given):
        """Deploy the template under a further name."""
        self.state["stacks"][name] = deploy(
            self.state["endpoint_url"], self.run_dir, name, template, self.options.bin_dir, given
        )

    def _start_proxy(self):
        """Start the tests' chaos proxy between the functions and the stack, if its path was given."""
        if not self.options.aws_proxy_bin:
            return None
        listen, control = procs.free_port(), procs.free_port()
        command = [
            self.options.aws_proxy_bin,
            "--listen", f"127.0.0.1:{listen}",
            "--control", f"127.0.0.1:{control}",
            "--upstream", self.state["endpoint_url"],
        ]  # fmt: skip
        loss = "The functions reach AWS through it, so they fail from now on: stop, and start again."
        self.start("chaos-proxy", "The chaos proxy", command, aws_env(self.state["endpoint_url"]), loss=loss)
        self.state["proxy_control"] = f"http://127.0.0.1:{control}"
        return f"http://127.0.0.1:{listen}"

    def _start_stand_in(self, functions_endpoint):
        # The functions inherit this environment, so it contains nothing of the user's own.
        env = {key: value for key, value in aws_env(functions_endpoint).items() if key in INHERITED or "AWS_" in key}
        env |= dict(
            AUTH="true",
            BIND_HOST="127.0.0.1",
            GATEWAY_PORT=str(self.port),
            # Otherwise queue URLs name localhost, which may resolve to ::1, where the stack does not listen.
            MINISTACK_HOST="127.0.0.1",
            # Both would open a port to other machines.
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            # Keeps all files of this run in its own directory.
            TMPDIR=str(self.run_dir / "tmp"),
            PERSIST_STATE="0",
            NO_PROXY="127.0.0.1,localhost",
            PYTHONUNBUFFERED="1",
            RUST_BACKTRACE="1",
        )
        loss = (
            "It held all data, queues and keys in memory, so nothing works any more: "
            "stop this run (Ctrl-C), and start it again."
        )
        command = [PYTHON, "-c", MINISTACK]
        return self.start("ministack", "MiniStack, the stand-in for AWS,", command, env, self.run_dir, loss)

    def _await_ready(self, stand_in):
        deadline = time.monotonic() + START_SECONDS
        while True:
            log = self.run_dir / "logs" / "ministack.log"
            if stand_in.poll() is not None:
                raise Problem("MiniStack did not start:\n" + "\n".join(log.read_text().splitlines()[-20:]))
            try:
                if http("GET", self.state["endpoint_url"] + "/_ministack/ready", timeout=2)[0] == 200:
                    return
            except Problem:
                pass
            if time.monotonic() > deadline:
                raise Problem(f"MiniStack was not ready after {START_SECONDS} s; its log is {log}")
            time.sleep(0.05)


def save(path, state):
    """Write a state file atomically and only for this user, because it holds keys."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(state, file, indent=2)
    partial.rename(path)


def stop_on_signals():
    """Turn signals that stop a script into exceptions, so that `with` blocks clean up."""

    def interrupt(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    # nohup ignores it, so that the script survives its terminal.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)


def up(options):
    """Keep a stack running until a signal, or until the starting process ends."""
    starter = os.getppid()
    stop_on_signals()
    try:
        with Stack(options, state_file=options.state) as stack:
            say(f"ready: {stack.state['stacks'][options.stack_name]['api_url']}, state in {stack.state_file}")
            # Polled, because the kernel's signal would already come when the starting thread ends.
            while os.getppid() == starter:
                for part in stack.parts:
                    if (code := part.process.poll()) is not None:
                        raise Problem(f"{part.title} ended ({procs.ending(code)}); its log is {part.log}")
                time.sleep(0.2)
    except KeyboardInterrupt:
        pass


def add(options):
    """Deploy a further copy of the template to a running stack."""
    state_file = Path(options.state)
    if not state_file.exists():
        raise Problem(f"{state_file} does not exist; is the stack running?")
    state = json.loads(state_file.read_text())
    run_dir = Path(state["log_dir"]).parent
    given = state["parameters"] | dict(options.param)
    template = Path(options.template)
    name = options.stack_name
    deployed = deploy(state["endpoint_url"], run_dir, name, template, options.bin_dir, given, by_sam=False)
    # Several copies may be deployed concurrently, so read the file again under a lock.
    with open(run_dir / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(state_file.read_text())
        state["stacks"][name] = deployed | ({"owner": os.getppid()} if options.ephemeral else {})
        save(state_file, state)


def remove_ended(state_file):
    """Remove the deployments whose owners have ended: their schedules and queues cost the stand-in time."""
    with open(state_file.parent / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(state_file.read_text())
        ended = [name for name, known in state["stacks"].items() if "owner" in known and not _lives(known["owner"])]
        removed = [state["stacks"].pop(name) for name in ended]
        if ended:
            save(state_file, state)
    for name, known in zip(ended, removed):
        try:
            remove(state["endpoint_url"], name, known)
        except Problem as problem:
            say(f"{name} could not be removed: {problem}")


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run_with(options):
    """Run a command on a stack of its own; returns the command's exit code."""
    starter = os.getppid()
    stop_on_signals()
    with Stack(options) as stack:
        child = subprocess.Popen(options.command, env=os.environ | {"CW_STACK_STATE": str(stack.state_file)})
        ended = threading.Event()
        remover = threading.Thread(target=_remove_until, args=(stack.state_file, ended), daemon=True)
        remover.start()
        try:
            while (code := child.poll()) is None and os.getppid() == starter:
                stack.check()
                time.sleep(0.1)
            # Again at the end, because the command's own output is long and fails for this reason.
            for part in stack.parts:
                part.remind()
            if code is not None and sweep.has_secrets(stack.run_dir):
                # Also after failures: a leak may be their reason.
                code = max(code, sweep.report(stack.state["endpoint_url"], stack.run_dir), key=abs)
            return code
        finally:
            ended.set()
            if child.poll() is None:
                child.terminate()
                child.wait()
            remover.join(5)


def _remove_until(state_file, ended):
    while not ended.wait(1):
        try:
            remove_ended(state_file)
        except (OSError, Problem) as problem:
            say(f"deployments that ended could not be removed: {problem}")


def _pair(text):
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def add_options(parser):
    """The options that choose how a stack is started."""
    parser.add_argument("--port", type=int, default=0, help="port of the stack; 0 chooses a free one")
    parser.add_argument("--aws-proxy", metavar="URL", help="endpoint that the functions use instead of the stack")
    parser.add_argument("--aws-proxy-bin", metavar="PATH", help="proxy to start between the functions and the stack")
    parser.add_argument("--stack-name", default="core-webhooks")
    parser.add_argument("--bin-dir", default=ROOT / "target" / "debug", help="directory of the built functions")
    parser.add_argument("--param", type=_pair, action="append", default=[], metavar="K=V", help="template parameter")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("up", help=up.__doc__)
    one.add_argument("--state", required=True, metavar="FILE")
    add_options(one)
    one.set_defaults(run=up)
    one = commands.add_parser("deploy", help=add.__doc__)
    one.add_argument("--state", required=True, metavar="FILE")
    one.add_argument("--template", default=ROOT / "template.yaml")
    one.add_argument("--ephemeral", action="store_true", help="remove it when the starting process ends")
    add_options(one)
    one.set_defaults(run=add)
    one = commands.add_parser("with", help=run_with.__doc__)
    add_options(one)
    one.add_argument("command", nargs="+", metavar="CMD")
    one.set_defaults(run=run_with)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: arguments.run(arguments))
