"""The project's own HTTP API, as these scripts call it."""

import json

from aws import http
from base import Problem


class Client:
    """The API at one address with one key."""

    def __init__(self, api_url, key, tenant=None):
        self.api_url = api_url
        self.key = key
        self.tenant = tenant

    def post(self, path, body, **headers):
        """Create something; the answer's JSON."""
        return self._send("POST", path, json.dumps(body).encode(), headers)

    def get(self, path):
        """Read something; the answer's JSON."""
        return self._send("GET", path, None, {})

    def _send(self, method, path, body, headers):
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if self.tenant:
            sent["Tenant"] = self.tenant
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, answer = http(method, self.api_url + path, body, sent)
        if not 200 <= status < 300:
            raise Problem(f"{method} {path} answered {status}: {answer.decode(errors='replace')[:1000]}")
        return json.loads(answer)
