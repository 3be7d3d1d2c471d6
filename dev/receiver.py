"""A tenant's endpoint for the demo. It verifies each webhook with the standardwebhooks library, which is not ours.

Runs in the stack's virtual environment. For every request it reads the signing keys from the file that is named, one
per line, and prints the request as one line of JSON.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver(BaseHTTPRequestHandler):
    """Returns 204 if the signature is valid, otherwise 400."""

    protocol_version = "HTTP/1.1"
    secrets = Path()

    def do_POST(self):
        """Receive one webhook."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        error = self.verify(body, headers)
        request = {"path": self.path, "headers": headers, "body": body.decode(errors="replace"), "error": error}
        print(json.dumps(request), flush=True)
        self.send_response(204 if error is None else 400)
        self.send_header("content-length", "0")
        self.end_headers()

    def verify(self, body, headers):
        """Why the signature is invalid; None if it is valid."""
        keys = self.secrets.read_text().split() if self.secrets.exists() else []
        reason = "the receiver has no signing key yet"
        for key in keys:
            try:
                Webhook(key).verify(body, headers)
                return None
            except WebhookVerificationError as error:
                reason = str(error)
        return reason

    def log_message(self, *_):
        """Print nothing besides the lines above."""


def main():
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secrets", type=Path, required=True)
    options = parser.parse_args()
    Receiver.secrets = options.secrets
    ThreadingHTTPServer(("127.0.0.1", options.port), Receiver).serve_forever()


if __name__ == "__main__":
    main()
