"""What is peculiar to each feed, by its vendor's documentation: which requests it refuses, its pages, links, limits and
headers. A feed sees a `call`: its `resource`, `query` (decoded pairs), `headers` in lower case, and the time `now`.
"""

from mls.records import KEYS


class Refusal(Exception):
    def __init__(self, status, message, code=None, headers=None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error": {"code": str(code or status), "message": message}}


class Feed:
    base = ""
    system = "test_mls"
    order = "time"
    # Windows in seconds, with the calls that a token has in each.
    limits = ()
    default_page, largest_page = 500, 1000
    next_parameter = "$skiptoken"
    link_life = None
    suspension = 0

    def before_auth(self, call):
        pass

    def check(self, call):
        pass

    def page_size(self, call, parsed):
        return min(parsed["top"] or self.default_page, self.largest_page)

    def odata_query(self, call):
        """The query without the feed's own parameters, for OData."""
        return "&".join(part for part in call.raw_query.split("&") if part.startswith("$") or part.startswith("%24"))

    def too_many(self, wait):
        return Refusal(429, "Too many requests.")

    def headers(self, used, now):
        return {}

    def link_headers(self, link):
        return {}

    def goes_on(self, shown, more):
        """Whether a page has a link to the next one."""
        return more


class MlsGrid(Feed):
    base = "/v2"
    system = "actris"
    largest_page = 5000
    limits = ((1, 2), (3600, 7200), (86_400, 40_000))
    suspension = 300

    def before_auth(self, call):
        if "gzip" not in call.headers.get("accept-encoding", ""):
            raise Refusal(400, "COMPRESSION REQUIRED")

    def check(self, call):
        given = call.query.get("$filter", "")
        systems = [part.split("'")[1] for part in given.split("OriginatingSystemName eq ")[1:] if "'" in part]
        if len(systems) != 1 or given.count("OriginatingSystemName") != 1:
            raise Refusal(400, "Exactly one OriginatingSystemName must be in $filter.")
        if systems[0] != call.system:
            raise Refusal(400, f"Unknown OriginatingSystemName {systems[0]}.")
        if given.count(" or ") > 5:
            raise Refusal(400, "At most five `or` are allowed.")
        if "$orderby" in call.query or "(" in call.query.get("$expand", ""):
            raise Refusal(400, "$orderby, and options of $expand, are not supported.")

    def page_size(self, call, parsed):
        return min(parsed["top"] or self.default_page, 1000 if parsed["expand"] else self.largest_page)


class Trestle(Feed):
    base = "/trestle/odata"
    system = "TRESTLE"
    default_page = 10
    limits = ((60, 180), (3600, 7200))
    next_parameter = "$next"
    link_life = 300

    def replicates(self, call):
        return call.query.get("replication") == "true"

    def check(self, call):
        if not self.replicates(call) and call.count > 1_000_000:
            raise Refusal(400, "More than 1,000,000 records: use replication=true.")

    def page_size(self, call, parsed):
        keys_only = parsed["select"] == [KEYS[call.resource]]
        return min(parsed["top"] or self.default_page, 300_000 if keys_only else self.largest_page)

    def headers(self, used, now):
        reset = (now // 3_600_000 + 1) * 3_600_000
        return {"Minute-Quota-Limit": "180", "Hour-Quota-Limit": "7200", "Hour-Quota-ResetTime": str(reset)}


class Replication(Trestle):
    """Trestle's replication: the URL that is given is called until a page is empty."""

    def goes_on(self, shown, more):
        return shown > 0


class Bridge(Feed):
    base = "/api/v2/OData/test"
    order = "number"
    default_page = 10
    limits = ((60, 333), (3600, 5000))
    next_parameter = "$next"

    def check(self, call):
        if call.replication:
            if "$orderby" in call.query:
                raise Refusal(400, "$orderby is not supported on this endpoint")
            if int(call.query.get("$top", "0")) > 2000:
                raise Refusal(400, "Maximum value for $top is 2000")

    def page_size(self, call, parsed):
        return min(parsed["top"] or self.default_page, 2000 if call.replication else 200)

    def headers(self, used, now):
        left, reset = max(0, 333 - used.get(60, 0)), (now // 60_000 + 1) * 60
        return {
            "Burst-RateLimit-Limit": "333", "Burst-RateLimit-Remaining": str(left), "Burst-RateLimit-Reset": str(reset),
        }

    def link_headers(self, link):
        return {"Link": f'<{link}>; rel="next"'}


class Spark(Feed):
    base = "/Version/3/Reso/OData"
    order = "number"
    default_page = 25
    limits = ((300, 1500),)

    def check(self, call):
        allowed = {"$skiptoken", "$top", "$count", "$select"}
        if "$skiptoken" in call.query and not set(call.query) <= allowed:
            raise Refusal(400, "Only $count and $select are allowed with $skiptoken.", 1040)

    def too_many(self, wait):
        return Refusal(429, "Over the rate limit.", 1550)


FEEDS = {"mlsgrid": MlsGrid, "trestle": Trestle, "bridge": Bridge, "spark": Spark}
