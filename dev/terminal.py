"""What a run shows on the terminal while it stays up: growing logs, and never more lines than a person can read."""

import time

from base import say

# Lines of one kind that are shown in a second; the others are counted.
LINES_PER_SECOND = 10
# Time during which the same message is shown once.
REPEAT_SECONDS = 30


class Tail:
    """The complete lines that are added to a file."""

    def __init__(self, path):
        self.path = path
        self.position = 0
        self.rest = b""

    def lines(self):
        """The lines that were completed since the last call. Bytes that are not UTF-8 are replaced."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.position)
                added = file.read()
        except FileNotFoundError:
            return []
        self.position += len(added)
        *complete, self.rest = (self.rest + added).split(b"\n")
        return [line.decode(errors="replace") for line in complete]


class Condenser:
    """Prints up to LINES_PER_SECOND lines a second, and at the end of the second how many more there were."""

    def __init__(self, what):
        self.what = what
        self.began = 0.0
        self.shown = 0
        self.more = 0
        self.notes = {}

    def show(self, line, note=None):
        """Print or count a line. Counted lines are grouped by their note, such as "rejected"."""
        self.flush()
        if self.shown == 0:
            self.began = time.monotonic()
        if self.shown < LINES_PER_SECOND:
            self.shown += 1
            say(line)
            return
        self.more += 1
        if note:
            self.notes[note] = self.notes.get(note, 0) + 1

    def flush(self):
        """Print the count if the second has ended. Call it regularly."""
        if time.monotonic() - self.began >= 1:
            self.finish()

    def finish(self):
        """Print the count now."""
        if self.more:
            notes = ", ".join(f"{count} {note}" for note, count in self.notes.items())
            say(f"… and {self.more} more {self.what} in the last second" + (f" ({notes})" if notes else ""))
        self.shown, self.more, self.notes = 0, 0, {}


class Repeats:
    """Prints a message that is repeated once in REPEAT_SECONDS."""

    def __init__(self):
        self.last = {}

    def show(self, text):
        """Print the message, unless it was printed recently."""
        now = time.monotonic()
        if now - self.last.get(text, float("-inf")) >= REPEAT_SECONDS:
            self.last = {old: at for old, at in self.last.items() if now - at < REPEAT_SECONDS}
            self.last[text] = now
            say(text)
