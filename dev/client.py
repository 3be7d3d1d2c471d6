"""A client of the project's own HTTP API."""

import json

from aws import http
from base import Problem


class Client:
    """Calls the API at one address with one key."""

    def __init__(self, api_url, key, tenant=None):
        self.api_url = api_url
        self.key = key
        self.tenant = tenant

    def post(self, path, body, **headers):
        """Send a POST; returns the response's JSON."""
        return self._send("POST", path, json.dumps(body).encode(), headers)

    def get(self, path):
        """Send a GET; returns the response's JSON."""
        return self._send("GET", path, None, {})

    def _send(self, method, path, body, headers):
        all_headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if self.tenant:
            all_headers["Tenant"] = self.tenant
        all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, response = http(method, self.api_url + path, body, all_headers)
        if not 200 <= status < 300:
            raise Problem(f"{method} {path} returned {status}: {response.decode(errors='replace')[:1000]}")
        return json.loads(response)
