"""A feed's state, and what happens to a request: faults, authorization, limits, the page, the link to the next one."""

import hashlib
import json
import threading
import time
from collections import deque
from urllib.parse import parse_qsl, quote, unquote_plus

from odatapy.errors import ODataException

from mls.feeds import FEEDS, Refusal, Replication
from mls.odata import Service
from mls.records import KEYS, Resource


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Call:
    """A request of a client."""

    def __init__(self, feed, method, path, raw_query, headers, body):
        self.method, self.path, self.raw_query, self.headers, self.body = method, path, raw_query, headers, body
        self.query = dict(parse_qsl(raw_query, keep_blank_values=True))
        token = headers.get("authorization", "")
        self.token = sha256(token[7:]) if token.startswith("Bearer ") else ""
        below = path[len(feed.base):].strip("/") if path.startswith(feed.base + "/") else ""
        self.replication = below.endswith("/replication")
        self.below = below.removesuffix("/replication")
        self.resource = self.below.split("(")[0]
        self.system, self.count = feed.system, 0


class State:
    def __init__(self, kind, origin):
        self.kind, self.origin, self.feed = kind, origin, FEEDS[kind]()
        self.lock, self.service = threading.RLock(), Service()
        self.offset, self.seed = 0, 1
        self.resources, self.tokens, self.any_token, self.client = {}, {}, False, None
        self.limits = list(self.feed.limits)
        self.used, self.suspended, self.links = {}, {}, {}
        self.faults, self.calls = [], []
        self.foreign, self.relative, self.made = [], 0, 0
        self.most = None
        for name in KEYS:
            self.load(name, {"count": 0})

    def now(self):
        return int(time.time() * 1000) + self.offset

    # Orders of the test.

    def load(self, name, options):
        options = {"system": self.feed.system, "seed": self.seed, **options}
        self.resources[name] = Resource(name, **options)

    def order(self, order):
        with self.lock:
            for name, value in order.items():
                getattr(self, f"order_{name}")(value)
            return {"now": self.now(), "faults": len(self.faults)}

    def order_load(self, value):
        for name, options in value.items():
            self.load(name, options)

    def order_change(self, value):
        resource = self.resources[value["resource"]]
        at = value.get("at", self.now())
        for key in value["keys"]:
            flags = {name: value[name] for name in ("deleted", "hidden") if name in value}
            resource.change(resource.number(key), at, value.get("patch"), **flags)

    def order_tokens(self, value):
        self.tokens = {sha256(token): None for token in value}

    def order_token_hashes(self, value):
        self.tokens |= {one: None for one in value}

    def order_any_token(self, value):
        self.any_token = value

    def order_client(self, value):
        self.client = value

    def order_system(self, value):
        self.feed.system = value
        for resource in self.resources.values():
            resource.system = value

    def order_limits(self, value):
        self.limits = list(self.feed.limits) if value == "own" else [tuple(one) for one in value or ()]
        self.used.clear()
        self.suspended.clear()

    def order_suspension(self, value):
        self.feed.suspension = value

    def order_now(self, value):
        self.offset = value - int(time.time() * 1000)

    def order_advance(self, value):
        self.offset += value

    def order_fail(self, value):
        self.faults.append({"times": 1, "skip": 0, **value})

    def order_forget_faults(self, _):
        self.faults.clear()

    def order_foreign_links(self, value):
        self.foreign = [value["origin"]] * value.get("times", 1)

    def order_page_size(self, value):
        self.most = value

    def order_relative_links(self, value):
        self.relative = value

    def order_forget_calls(self, _):
        self.calls.clear()

    # Requests of a client.

    def respond(self, method, path, raw_query, headers, body):
        """Status, headers and body; None cuts the connection."""
        with self.lock:
            call = Call(self.feed, method, path, raw_query, headers, body)
            kept = {
                "at": self.now(), "method": method, "path": path, "query": raw_query, "resource": call.resource,
                "token_sha256": call.token, "accept_encoding": headers.get("accept-encoding", ""), "rows": 0,
            }
            self.calls.append(kept)
            fault = self.fault(call)
            rows = 0
            try:
                if fault and "delay_ms" not in fault:
                    if fault.get("cut"):
                        kept["status"] = 0
                        return None
                    raise self.injected(fault)
                status, more, content, rows = self.serve(call)
            except Refusal as refused:
                status, more, content = refused.status, refused.headers, json.dumps(refused.body).encode()
                if "text" in refused.body:
                    content = refused.body["text"].encode()
            except ODataException as error:
                status, more = 400, {}
                content = json.dumps({"error": {"code": "400", "message": str(error)}}).encode()
            used = {window: len(times) for (token, window), times in self.used.items() if token == call.token}
            more = {**self.feed.headers(used, self.now()), **more}
            kept.update(status=status, rows=rows, bytes=len(content))
        if fault and "delay_ms" in fault:
            time.sleep(fault["delay_ms"] / 1000)
        return status, more, content

    def fault(self, call):
        for fault in self.faults:
            if fault.get("resource", call.resource) != call.resource or fault.get("token", call.token) != call.token:
                continue
            if fault["skip"] > 0:
                fault["skip"] -= 1
                return None
            fault["times"] -= 1
            if fault["times"] <= 0:
                self.faults.remove(fault)
            return fault
        return None

    @staticmethod
    def injected(fault):
        refused = Refusal(fault["status"], fault.get("message", "injected"), fault.get("code"), fault.get("headers"))
        if "text" in fault:
            refused.body = {"text": fault["text"]}
        return refused

    def serve(self, call):
        if call.path == "/trestle/oidc/connect/token" and self.kind == "trestle":
            return self.token(call)
        self.feed.before_auth(call)
        self.authorize(call)
        self.spend(call)
        if call.below == "$metadata":
            status, content, kind = self.service.process(self.origin + self.feed.base, call.below, "")
            return status, {"Content-Type": kind}, content, 0
        if call.resource not in self.resources:
            raise Refusal(404, f"{call.resource} is not a resource.")
        resource = self.resources[call.resource]
        call.count = resource.count
        if call.below != call.resource:
            return self.one(call, resource)
        return self.page(call, resource)

    def token(self, call):
        form = dict(parse_qsl(call.body.decode()))
        given = [form.get("client_id"), form.get("client_secret")]
        if form.get("grant_type") != "client_credentials" or form.get("scope") != "api":
            raise Refusal(400, "invalid_request")
        if not self.client or given != [self.client["id"], self.client["secret"]]:
            raise Refusal(401, "invalid_client")
        self.made += 1
        token = f"trestle-{self.made}-{sha256(str(self.made + self.seed))[:24]}"
        self.tokens[sha256(token)] = self.now() + 28_800_000
        content = {"access_token": token, "expires_in": 28_800, "token_type": "Bearer", "scope": "api"}
        return 200, {}, json.dumps(content).encode(), 0

    def authorize(self, call):
        ends = self.tokens.get(call.token, 0 if call.token not in self.tokens else None)
        known = call.token in self.tokens and (ends is None or ends > self.now())
        if not known and not (self.any_token and call.token):
            raise Refusal(401, "Invalid access token.")

    def spend(self, call):
        now = self.now()
        if self.suspended.get(call.token, 0) > now:
            raise self.feed.too_many(0)
        for window, most in self.limits:
            times = self.used.setdefault((call.token, window), deque())
            while times and times[0] <= now - window * 1000:
                times.popleft()
            times.append(now)
            if len(times) > most:
                # A refused call does not count where it costs nothing more.
                times.pop()
                self.suspended[call.token] = now + self.feed.suspension * 1000
                raise self.feed.too_many(window)

    def one(self, call, resource):
        key = unquote_plus(call.below.split("(", 1)[1].rstrip(")")).strip("'")
        number = resource.number(key)
        if number is None or not resource.lives(number, self.now()):
            raise Refusal(404, "Not found.")
        return 200, {}, json.dumps(resource.record(number)).encode(), 1

    def page(self, call, resource):
        feed = self.feed
        name = feed.next_parameter
        token = call.query.get(name)
        place, query, raw = None, call.query, self.feed.odata_query(call)
        if token:
            link = self.links.get(f"{call.path}?{call.raw_query}")
            # Byte for byte: a link that was decoded and encoded again is another one.
            if link is None:
                raise Refusal(400, f"The link with this {name} was not given by this server.")
            if feed.link_life and self.now() - link["used"] > feed.link_life * 1000:
                raise Refusal(400, "The link has expired: start again.")
            link["used"] = self.now()
            place, query, raw = link["place"], link["query"], link["raw"]
        else:
            feed.check(call)
        if self.kind == "spark" and not token:
            raw = "&".join(part for part in raw.split("&") if not part.startswith(("$skiptoken", "%24skiptoken")))
        status, content, _ = self.service.process(self.origin + feed.base, call.resource, raw)
        if status != 200:
            return status, {}, content, 0
        parsed = self.service.query(call.resource, raw)
        call.query = query
        # The order of time is the only one that these feeds are asked for.
        order = query.get("$orderby", "ModificationTimestamp")
        if order not in ("ModificationTimestamp", "ModificationTimestamp asc"):
            raise Refusal(501, "$orderby: the feeds of the tests know ModificationTimestamp alone.")
        call.order = "time" if "$orderby" in query else feed.order
        size = feed.page_size(call, parsed)
        if self.most:
            size = min(size, self.most)
        numbers, place, more = self.read(call, resource, parsed, place, size)
        body = {"@odata.context": json.loads(content)["@odata.context"]}
        if parsed["count"]:
            body["@odata.count"] = sum(1 for _ in self.matches(call, resource, parsed, None))
        body["value"] = [self.shown(resource, number, parsed) for number in numbers]
        rules = Replication() if self.kind == "trestle" and feed.replicates(call) else feed
        headers = {}
        if rules.goes_on(len(numbers), more):
            link = self.link(call, query, raw, place, name)
            body["@odata.nextLink"] = link
            headers = feed.link_headers(link)
        return 200, headers, json.dumps(body).encode(), len(numbers)

    def matches(self, call, resource, parsed, place):
        now = self.now()
        if call.order == "number":
            numbers = resource.by_number(place)
        else:
            numbers = resource.by_time(place, parsed["least"])
        for number in numbers:
            if not resource.lives(number, now):
                continue
            if parsed["expression"] is None or self.service.fits(call.resource, parsed, resource.record(number)):
                yield number

    def read(self, call, resource, parsed, place, size):
        found, more = [], False
        for number in self.matches(call, resource, parsed, place):
            if len(found) == size:
                more = True
                break
            found.append(number)
        if found:
            last = found[-1]
            place = last if call.order == "number" else (resource.time(last), last)
        return found, place, more

    def shown(self, resource, number, parsed):
        key = KEYS[resource.name]
        if parsed["select"] == [key]:
            return {key: resource.key(number)}
        record = resource.record(number)
        if parsed["select"] and "*" not in parsed["select"]:
            record = {name: record[name] for name in parsed["select"] if name in record}
        if self.kind != "mlsgrid":
            record.pop("MlgCanView", None)
            record.pop("MlgCanUse", None)
        if parsed["expand"]:
            record["Media"] = resource.photos(number)
        return record

    def link(self, call, query, raw, place, name):
        self.made += 1
        token = quote(f"{sha256(f'{self.seed} {self.made}')[:12]}+/=", safe="")
        more = "replication=true&" if self.kind == "trestle" and query.get("replication") == "true" else ""
        target = f"{call.path}?{more}{name}={token}"
        self.links[target] = {"place": place, "query": query, "raw": raw, "used": self.now()}
        # A million records are some thousand pages; the links of old passes are forgotten.
        if len(self.links) > 50_000:
            self.links.pop(next(iter(self.links)))
        if self.foreign:
            return self.foreign.pop() + target
        if self.relative > 0:
            self.relative -= 1
            return target
        return self.origin + target
