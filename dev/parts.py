"""The parts of a run, watched: what ends is reported with its log, and started again if that is safe."""

import os
import re
import signal
import time
import traceback

import procs
from base import say
from supervise import below, processes
from terminal import Repeats, Tail

# Time between two looks at the parts.
STEP_SECONDS = 0.2
# A part that ran longer than this is started again at once.
STEADY_SECONDS = 10
LONGEST_WAIT_SECONDS = 30
# Time between two reminders that a part is gone.
REMINDER_SECONDS = 60
# The same for the processes of functions; listing all processes takes some 10 ms.
SCAN_SECONDS = 0.4
# Time from the end of a function's process to the build that replaces it. cargo-lambda takes less than 0.25 s.
REBUILD_SECONDS = 2


class Part:
    """A background process of a run.

    `loss` is what its end means for the run; it is None for a part without state, which is started again.
    """

    def __init__(self, title, command, env, log, cwd=None, loss=None):
        self.title = title
        self.command = (command, env, log, cwd)
        self.log = log
        self.loss = loss
        self.wait = 0
        self.reported = None
        self.start()

    def start(self):
        """Start the process, again if it has ended. Its output is appended to its log."""
        self.process = procs.start(*self.command)
        self.began = time.monotonic()
        self.reported = None

    def stop(self):
        """Stop the process with its descendants."""
        procs.stop(self.process)
        procs.kill_leftovers(self.log)

    def check(self):
        """Report on the terminal that the process has ended, and start it again if that is safe."""
        code = self.process.poll()
        if code is None:
            return
        now = time.monotonic()
        if self.reported is None:
            procs.kill_leftovers(self.log)
            self.wait = 0 if now - self.began > STEADY_SECONDS else min(max(1, 2 * self.wait), LONGEST_WAIT_SECONDS)
            say(f"{self.title} ended ({procs.ending(code)}). {self._outcome()} Its log is {self.log}")
            self.reported = now
        elif self.loss is None and now - self.reported >= self.wait:
            self.start()
        elif self.loss is not None and now - self.reported >= REMINDER_SECONDS:
            self.remind()
            self.reported = now

    def remind(self):
        """Repeat that the process has ended, if it has."""
        if self.process.poll() is not None and self.loss is not None:
            say(f"{self.title} is not running. {self.loss} Its log is {self.log}")

    def _outcome(self):
        if self.loss is not None:
            return self.loss
        return f"It starts again in {self.wait} s." if self.wait else "It starts again now."


class StandInFunctions:
    """The processes of the functions below MiniStack, which starts another one when one is required."""

    # MiniStack logs these when a process ended, or was stopped, before it had responded.
    FAILURE = re.compile(
        r"Lambda (\S+): (Runtime exited before returning a response|Task timed out .*|.*bootstrap exited .*)"
    )

    def __init__(self, stand_in, names):
        """`names` has the functions' short names by their deployed names."""
        self.stand_in = stand_in
        self.names = names
        self.known = {}
        self.next_scan = 0.0
        self.log = Tail(stand_in.log)
        self.log.lines()
        self.repeats = Repeats()

    def check(self):
        """Report processes that crashed, and invocations that failed because of it."""
        for line in self.log.lines():
            if failure := self.FAILURE.search(line):
                self._report(failure[1], f"failed an invocation: {failure[2]}.", "A request got 502; a message returns")
        if time.monotonic() < self.next_scan:
            return
        self.next_scan = time.monotonic() + SCAN_SECONDS
        found = [one for one in below(self.stand_in.process.pid, processes()) if one.name == "bootstrap"]
        for process in found:
            if process.pid not in self.known:
                self.known[process.pid] = procs.variables(process.pid).get("AWS_LAMBDA_FUNCTION_NAME", "")
            elif process.ended is not None and self.known[process.pid] is not None:
                self._ended(process)
        self.known = {process.pid: self.known[process.pid] for process in found}

    def _ended(self, process):
        name, self.known[process.pid] = self.known[process.pid], None
        code = os.waitstatus_to_exitcode(process.ended)
        # MiniStack stops the processes that it no longer requires.
        if code not in (0, -signal.SIGTERM):
            self._report(name, f"ended ({procs.ending(code)}, process {process.pid}).", "The next invocation starts it")

    def _report(self, deployed, what, then):
        name = self.names.get(deployed, deployed or "unknown")
        self.repeats.show(f"The function {name} {what} {then} again. Its log is {self.stand_in.log}")


class WatchedFunctions:
    """The processes of the functions below `cargo lambda watch`.

    cargo-lambda starts a function again after a change of its source, but not after a crash: requests would then wait
    for ever. So it is started again as a whole; it has no state.
    """

    # Cargo prints this before it becomes the function, which may crash before its process is seen.
    STARTED = re.compile(r"Running `(?:.*/)?([\w-]+)`")

    def __init__(self, part, names):
        self.part = part
        self.names = names
        self.log = Tail(part.log)
        self.running = set()
        self.missing = {}
        self.next_scan = 0.0

    def check(self):
        """Report a function that crashed, and start cargo-lambda again."""
        now = time.monotonic()
        if self.part.process.poll() is not None:
            self.running, self.missing = set(), {}
            return
        if now < self.next_scan:
            return
        self.next_scan = now + SCAN_SECONDS
        started = [self.STARTED.search(line) for line in self.log.lines()]
        started = {line[1] for line in started if line and line[1] in self.names}
        alive = {}
        for process in below(self.part.process.pid, processes()):
            name = procs.variables(process.pid).get("AWS_LAMBDA_FUNCTION_NAME")
            if name in self.names and process.ended is None:
                alive.setdefault(name, set()).add(process.name)
        for name in self.running | started:
            if name not in alive:
                self.missing.setdefault(name, now)
        # What is being built, by cargo and rustc, is not running yet; if its build fails, that is no crash.
        self.missing = {name: since for name, since in self.missing.items() if name not in alive}
        self.running = {name for name, found in alive.items() if name[:15] in found} | (started & alive.keys())
        for name, since in self.missing.items():
            if now - since >= REBUILD_SECONDS:
                self.part.stop()
                self.part.start()
                say(
                    f"The function {name} ended, which cargo lambda watch does not notice, "
                    f"so cargo lambda watch was started again. Its log is {self.part.log}"
                )
                self.running, self.missing = set(), {}
                return


def stay_up(starter, *steps):
    """Call the steps several times a second until a signal, or until the process `starter` is not our parent any more.

    Nothing else ends a run: a step that fails is reported and called again.
    """
    repeats = Repeats()
    try:
        # Polled, because the kernel's signal would already come when the starting thread ends.
        while os.getppid() == starter:
            for step in steps:
                try:
                    step()
                except Exception:  # pylint: disable=broad-except
                    repeats.show(f"error: {traceback.format_exc()}")
            time.sleep(STEP_SECONDS)
    except KeyboardInterrupt:
        pass
    say("\nStopped.")
