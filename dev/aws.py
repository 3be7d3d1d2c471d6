"""A few calls to the local stack's own services, with the standard library alone.

The stand-in does not verify the owner's signature, so no SDK is needed to sign.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from http.client import HTTPException

from base import ADMIN, REGION, Problem

# Never through a proxy of the environment.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http(method, url, body=None, headers=None, timeout=35):
    """Send one HTTP request; returns (status, headers, body as bytes) for every status."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with _opener.open(request, timeout=timeout) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()
    except (OSError, HTTPException) as error:
        # The second: a response that was cut or is malformed, as of a server that is killed.
        raise Problem(f"{method} {url}: {error or type(error).__name__}") from None


class Aws:
    """The local stack, called as the account's owner."""

    def __init__(self, endpoint_url):
        self.endpoint_url = endpoint_url

    def rest(self, service, method, path, body=None):
        """Call a REST service; returns the response's JSON, or None if it has no body."""
        data = None if body is None else json.dumps(body).encode()
        return _json(self._send(service, method, path, data, {"Content-Type": "application/json"}))

    def put_object(self, bucket, key, data):
        """Store bytes in a bucket."""
        self._send("s3", "PUT", f"/{bucket}/{key}", data, {"Content-Type": "application/octet-stream"})

    def target(self, service, target, body, version="1.1"):
        """Call a JSON service by its target."""
        headers = {"X-Amz-Target": target, "Content-Type": f"application/x-amz-json-{version}"}
        return _json(self._send(service, "POST", "/", json.dumps(body).encode(), headers))

    def query(self, service, version, action, **parameters):
        """Call a query service; returns the response's XML without namespaces."""
        form = urllib.parse.urlencode({"Action": action, "Version": version} | parameters).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        response = ElementTree.fromstring(self._send(service, "POST", "/", form, headers))
        for element in response.iter():
            element.tag = element.tag.rpartition("}")[2]
        return response

    def _send(self, service, method, path, data, headers):
        scope = f"{ADMIN}/20260101/{REGION}/{service}/aws4_request"
        signature = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
        status, _, body = http(
            method, self.endpoint_url + path, data, headers | {"Authorization": signature}
        )
        if status >= 400:
            raise Problem(f"{service} {path} returned {status}: {body.decode(errors='replace')[:500]}")
        return body


def _json(body):
    return json.loads(body) if body.strip() else None
