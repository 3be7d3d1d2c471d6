"""The instruments of benches/engine.py: the running stack, its functions' CPU clocks, call counts, and clients."""

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "dev"))

# pylint: disable=wrong-import-position
from aws import Aws
from base import ADMIN, REGION, Problem
from package import package

# The event that is published: its webhook's body has this size.
BODY_BYTES = 1024
# Size of the envelope without the padding.
ENVELOPE_BYTES = len('{"type":"bench.happened","timestamp":"2026-11-23T20:00:00.000Z","data":{"pad":""}}')
EVENT = {"type": "bench.happened", "data": {"pad": "x" * (BODY_BYTES - ENVELOPE_BYTES)}}
# Posts of the bare client in one sample.
BARE_POSTS = 10_000
# Timeout of every wait.
TIMEOUT_SECONDS = 60
# Functions that run on a schedule and not per delivery. They make calls even if nothing is sent.
SCHEDULED = {"scheduler", "rescuer", "tenant-eraser", "tenant-exporter"}


def cpu_seconds(pid):
    """User and system time of a process with all its threads, also finished ones; 0 if the process has ended.

    It is the kernel's CPU clock of the process (clock_getcpuclockid), in nanoseconds. utime and stime in /proc/PID/stat
    are the same, but in hundredths of a second.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def peak_memory(pid):
    """The most memory that a process ever had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(row.split()[1]) / 1024 for row in status.splitlines() if row.startswith("VmHWM:"))


def environment_of(pid):
    """The environment variables of a process."""
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(line.decode().partition("=")[::2] for line in lines if b"=" in line)


class Http:
    """Sends requests to one base URL over a connection per thread."""

    def __init__(self, base, headers=None):
        parts = urllib.parse.urlsplit(base)
        self.netloc, self.path = parts.netloc, parts.path
        self.headers = headers or {}
        self.own = threading.local()

    def __call__(self, method, path, body=None, headers=None):
        """Send a request; returns the status and the JSON, or the text if it is not JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | self.headers | (headers or {})
        for fresh in (False, True):
            connection = getattr(self.own, "connection", None)
            if connection is None or fresh:
                connection = self.own.connection = http.client.HTTPConnection(self.netloc, timeout=TIMEOUT_SECONDS)
            try:
                connection.request(method, self.path + path, data, headers)
                response = connection.getresponse()
                text = response.read().decode()
                break
            # The server may have closed it while it was idle.
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if fresh:
                    raise
        return response.status, json.loads(text) if text[:1] in ("{", "[") else text


class Receiver:
    """The endpoint, in a process of its own whose CPU is not counted."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.http = Http(self.url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def count(self):
        """Webhooks since the last reset."""
        return int(self.http("GET", "/count")[1])

    def wait(self, count):
        """Wait until this number of webhooks has arrived."""
        wait_until(lambda: self.count() >= count, f"{count} webhooks")


def wait_until(condition, what):
    """Wait for a condition; `what` names it in the error."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Problem(f"timeout after {TIMEOUT_SECONDS} s while waiting for {what}")
        time.sleep(0.05)


class Rig:
    """The stack that dev/stack.py started, as its state file describes it."""

    def __init__(self):
        if "CW_STACK_STATE" not in os.environ:
            raise Problem("CW_STACK_STATE is not set: run this with `make bench`")
        state = json.loads(Path(os.environ["CW_STACK_STATE"]).read_text())
        (self.deployed,) = state["stacks"].values()
        self.names = {deployed: name for name, deployed in self.deployed["functions"].items()}
        self.run_dir = Path(state["log_dir"]).parent
        self.aws = Aws(state["endpoint_url"])
        self.control = Http(state["proxy_control"])

    def tenant(self):
        """A client of the API with the key of a new tenant."""
        operator = Http(self.deployed["api_url"], {"Authorization": f"Bearer {self.deployed['operator_key']}"})
        tenant = expect(201, operator("POST", "/v1/tenants", {"name": "Bench"}))["id"]
        key = expect(201, operator("POST", f"/v1/tenants/{tenant}/keys", {"name": "bench"}))["key"]
        return Http(self.deployed["api_url"], {"Authorization": f"Bearer {key}"})

    def functions(self):
        """The running function processes: name by process id."""
        names = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                code = (entry / "exe").readlink()
                if code.name != "bootstrap" or self.run_dir not in code.parents:
                    continue
                variables = environment_of(entry.name)
            except OSError:
                continue  # it has ended, or belongs to another user
            name = self.names.get(variables["AWS_LAMBDA_FUNCTION_NAME"])
            if name:
                names[int(entry.name)] = name
        return names

    def proxy(self):
        """The endpoint that the functions use for AWS: the proxy."""
        pid = next(iter(self.functions()))
        return environment_of(pid)["AWS_ENDPOINT_URL"]

    def clocks(self):
        """CPU time of each function process so far."""
        return {pid: (name, cpu_seconds(pid)) for pid, name in self.functions().items()}

    def counts(self):
        """AWS calls of the functions since `reset`, by operation, without those of scheduled functions."""
        calls = {}
        for row in self.control("GET", "/counts")[1]:
            name = self.names.get(row["function"])
            if name and name not in SCHEDULED:
                calls[row["operation"]] = calls.get(row["operation"], 0) + row["count"]
        return calls

    def reset(self):
        """Set all call counts to 0."""
        self.control("POST", "/counts/reset")

    def lanes(self, enabled):
        """Resume or pause the lanes: enable or disable Lambda's event source mappings."""
        mappings = "/2015-03-31/event-source-mappings/"
        function = self.deployed["functions"]["dispatcher"]
        for mapping in self.aws.rest("lambda", "GET", f"{mappings}?FunctionName={function}")["EventSourceMappings"]:
            self.aws.rest("lambda", "PUT", mappings + mapping["UUID"], {"Enabled": enabled})

    def drained(self):
        """Whether the lanes are empty, so that every batch is finished."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for output, url in self.deployed["outputs"].items():
            if output.endswith("LaneUrl"):
                request = {"QueueUrl": url, "AttributeNames": names}
                response = self.aws.target("sqs", "AmazonSQS.GetQueueAttributes", request, "1.0")
                if any(int(response["Attributes"][name]) for name in names):
                    return False
        return True

    def batches(self):
        """Batches and messages that the dispatchers have got so far, from the stand-in's log."""
        function = self.deployed["functions"]["dispatcher"]
        sizes = []
        for line in (self.run_dir / "logs" / "ministack.log").read_text(errors="replace").splitlines():
            _, mark, after = line.partition(f"ESM: Lambda {function} processed ")
            if mark:
                sizes.append(int(after.split()[0]))
        return len(sizes), sum(sizes)


class BareFunction:
    """A queue with a function that only posts, to measure the stack's own time from an AWS call to an endpoint."""

    def __init__(self, rig, binary):
        self.aws = rig.aws
        self.through_proxy = Http(rig.proxy())
        self.queue = self.aws.target("sqs", "AmazonSQS.CreateQueue", {"QueueName": "bare"}, "1.0")["QueueUrl"]
        key = {"AttributeName": "pk", "AttributeType": "S"}
        table = {"TableName": "bare", "BillingMode": "PAY_PER_REQUEST", "AttributeDefinitions": [key]}
        table["KeySchema"] = [{"AttributeName": "pk", "KeyType": "HASH"}]
        self.aws.target("dynamodb", "DynamoDB_20120810.CreateTable", table, "1.0")
        self._role()
        code = base64.b64encode(package(Path(binary)).read_bytes()).decode()
        function = {"FunctionName": "bare", "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 30}
        function |= {"Role": "arn:aws:iam::000000000000:role/bare", "Code": {"ZipFile": code}}
        self.aws.rest("lambda", "POST", "/2015-03-31/functions", function)
        mapping = {"FunctionName": "bare", "EventSourceArn": f"arn:aws:sqs:{REGION}:000000000000:bare"}
        self.aws.rest("lambda", "POST", "/2015-03-31/event-source-mappings/", mapping | {"BatchSize": 10})

    def _role(self):
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = {"Version": "2012-10-17", "Statement": [trust]}
        create = {"RoleName": "bare", "AssumeRolePolicyDocument": json.dumps(document)}
        self.aws.query("iam", "2010-05-08", "CreateRole", **create)
        allow = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [allow]}
        put = {"RoleName": "bare", "PolicyName": "bare", "PolicyDocument": json.dumps(policy)}
        self.aws.query("iam", "2010-05-08", "PutRolePolicy", **put)

    def send(self, name, url):
        """Make the calls that every publish needs; returns their start time."""
        started = time.time()
        item = {"pk": {"S": name}, "payload": {"S": "x" * 1024}}
        self._call("dynamodb", "DynamoDB_20120810.PutItem", {"TableName": "bare", "Item": item})
        message = {"Id": "0", "MessageBody": json.dumps({"url": url, "id": name, "pad": "x" * 1024})}
        self._call("sqs", "AmazonSQS.SendMessageBatch", {"QueueUrl": self.queue, "Entries": [message]})
        return started

    def _call(self, service, target, body):
        scope = f"{ADMIN}/20260101/{REGION}/{service}/aws4_request"
        headers = {
            "X-Amz-Target": target,
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        }
        expect(200, self.through_proxy("POST", "/", body, headers))


def bare_client(bin_dir, url):
    """CPU seconds per post of the bare client, which posts bodies of the same size."""
    command = [bin_dir / "examples" / "bare_client", url, str(BARE_POSTS), str(BODY_BYTES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        clocks = []
        for word in ("warm", "done"):
            if process.stdout.readline().strip() != word:
                raise Problem("the bare client failed")
            clocks.append(cpu_seconds(process.pid))
            process.stdin.write("\n")
            process.stdin.flush()
    return (clocks[1] - clocks[0]) / BARE_POSTS


def expect(status, response):
    """The body of a (status, body) response; fails on any other status."""
    if response[0] != status:
        raise Problem(f"expected {status}, got {response[0]}: {str(response[1])[:500]}")
    return response[1]


def in_parallel(workers, calls):
    """Make calls on several threads; returns the results in order."""
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
