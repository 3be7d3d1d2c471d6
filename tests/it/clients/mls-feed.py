"""An MLS feed on loopback: OData by odatapy with the peculiarities of one vendor.

    mls-feed.py mlsgrid|trestle|bridge|spark

The first line of standard output is JSON, when it listens: {"origin", "base"}. The program ends when its standard input
does. POST /_control takes an object of orders, of which each is a method `order_NAME` in mls/server.py; GET
/_control/calls returns the calls so far. Responses are compressed where the client accepts gzip.
"""

import gzip
import json
import os
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mls.server import State


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Paths have no place in the tests' output."""

    def do_GET(self):
        self.respond()

    def do_POST(self):
        self.respond()

    def respond(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if path == "/_control":
            try:
                self.send(200, {}, json.dumps(state.order(json.loads(body))).encode())
            except Exception as error:
                self.send(400, {}, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
            return
        if path == "/_control/calls":
            with state.lock:
                content = json.dumps(state.calls).encode()
            self.send(200, {}, content)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            result = state.respond(self.command, path, query, headers, body)
        except Exception:
            # A fault of this program must not look like one of the network.
            traceback.print_exc()
            result = 500, {}, json.dumps({"error": {"code": "500", "message": "the fake feed has failed"}}).encode()
        if result is None:
            self.close_connection = True
            return
        self.send(*result)

    def send(self, status, headers, content):
        headers = {"Content-Type": "application/json", **headers}
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content, 1)
            headers["Content-Encoding"] = "gzip"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    origin = f"http://127.0.0.1:{server.server_address[1]}"
    server.state = State(sys.argv[1], origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"origin": origin, "base": origin + server.state.feed.base}), flush=True)
    # A feed must not outlive its test, however that ends: the pipe closes with the process that holds it.
    sys.stdin.read()
    os._exit(0)


main()
