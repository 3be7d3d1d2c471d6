"""A tenant's endpoint for the demo. It verifies each webhook with the standardwebhooks library, which is not ours.

Runs in the stack's virtual environment. For every request it reads the signing keys from the file that is named, one
per line, and prints the request as one line of JSON.
"""

import argparse
import json
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_output = threading.Lock()


def write(text):
    """Print whole lines: each request has a thread of its own, and their lines must not be mixed."""
    with _output:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Receiver(BaseHTTPRequestHandler):
    """Returns 204 if the signature is valid, otherwise 400."""

    protocol_version = "HTTP/1.1"
    secrets = Path()

    def do_POST(self):
        """Receive one webhook."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit():
            body = self.rfile.read(int(length))
            error = self.verify(body, headers)
        else:
            # Without its length the end of the body is unknown, and so is the next request of this connection.
            self.close_connection = True
            body, error = b"", "the request has no valid Content-Length"
        request = {"path": self.path, "headers": headers, "body": body.decode(errors="replace"), "error": error}
        write(json.dumps(request))
        self.send_response(204 if error is None else 400)
        self.send_header("content-length", "0")
        self.end_headers()

    def verify(self, body, headers):
        """Why the signature is invalid; None if it is valid."""
        keys = self.secrets.read_text().split() if self.secrets.exists() else []
        reason = "the receiver has no signing key yet"
        for key in keys:
            try:
                # The library parses the body after it has verified it; that is not the signature's concern.
                Webhook(key).verify(body, headers, json_parse=False)
                return None
            except WebhookVerificationError as error:
                reason = str(error)
            except Exception as error:  # pylint: disable=broad-except
                # The library fails in its own way on a body that is not UTF-8, on a malformed header or key.
                reason = f"{type(error).__name__}: {error}"
        return reason

    def log_message(self, *_):
        """Print nothing besides the lines above."""


class Server(ThreadingHTTPServer):
    """One thread per connection."""

    # Python's default of 5 makes a burst of connections wait for a second.
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Print a failure as whole lines; a client that disconnects is none."""
        if not isinstance(sys.exc_info()[1], OSError):
            write(traceback.format_exc().rstrip())


def main():
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secrets", type=Path, required=True)
    options = parser.parse_args()
    Receiver.secrets = options.secrets
    Server(("127.0.0.1", options.port), Receiver).serve_forever()


if __name__ == "__main__":
    main()
