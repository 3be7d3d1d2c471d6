"""What benches/engine.py measures with: the running stack, its functions' clocks, counts, clients."""

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

# How long anything may take before the bench gives up.
PATIENCE_SECONDS = 60
# Functions that run by the clock and not per delivery: what they do goes on when nothing is sent.
BY_THE_CLOCK = {"scheduler", "rescuer"}


def cpu_seconds(pid):
    """User and system time of a process, all its threads, those that have ended too; 0 where it is gone.

    The kernel's clock of the process (clock_getcpuclockid): the same as utime and stime in
    /proc/PID/stat, but in nanoseconds, where those count in hundredths of a second.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


class Http:
    """Requests to one base URL, over a connection that each thread keeps."""

    def __init__(self, base, headers=None):
        parts = urllib.parse.urlsplit(base)
        self.netloc, self.path = parts.netloc, parts.path
        self.headers = headers or {}
        self.own = threading.local()

    def __call__(self, method, path, body=None, headers=None):
        """The answer's status and its JSON, or its text where it is none."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | self.headers | (headers or {})
        for fresh in (False, True):
            connection = getattr(self.own, "connection", None)
            if connection is None or fresh:
                connection = self.own.connection = http.client.HTTPConnection(self.netloc, timeout=PATIENCE_SECONDS)
            try:
                connection.request(method, self.path + path, data, headers)
                answer = connection.getresponse()
                text = answer.read().decode()
                break
            # The server may have closed it while it was idle.
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if fresh:
                    raise
        return answer.status, json.loads(text) if text[:1] in ("{", "[") else text


class Receiver:
    """The endpoint: a process of its own, whose CPU is nobody's."""

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
        """Wait until so many have come."""
        await_(lambda: self.count() >= count, f"{count} webhooks; {self.count()} came")


def await_(condition, what):
    """Wait for a condition; `what` says what was waited for in vain."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Problem(f"waited {PATIENCE_SECONDS} s in vain for {what}")
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
        """The processes of functions: name by process."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                code = (entry / "exe").readlink()
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended, or is not ours
            if code.name == "bootstrap" and self.run_dir in code.parents:
                variables = dict(line.decode().partition("=")[::2] for line in environment if b"=" in line)
                name = self.names.get(variables["AWS_LAMBDA_FUNCTION_NAME"])
                if name:
                    found[int(entry.name)] = name
        return found

    def proxy(self):
        """What the functions take for AWS."""
        pid = next(iter(self.functions()))
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next(line.decode().partition("=")[2] for line in environment if line.startswith(b"AWS_ENDPOINT_URL="))

    def clocks(self):
        """CPU of each function's processes so far."""
        return {pid: (name, cpu_seconds(pid)) for pid, name in self.functions().items()}

    def counts(self):
        """Calls of AWS that functions made since `reset`, by operation, without those made by the clock."""
        calls = {}
        for row in self.control("GET", "/counts")[1]:
            name = self.names.get(row["function"])
            if name and name not in BY_THE_CLOCK:
                calls[row["operation"]] = calls.get(row["operation"], 0) + row["count"]
        return calls

    def reset(self):
        """Count calls from 0."""
        self.control("POST", "/counts/reset")

    def lanes(self, enabled):
        """Let the lanes drive deliveries, or hold them: Lambda's event source mappings on or off."""
        mappings = "/2015-03-31/event-source-mappings/"
        function = self.deployed["functions"]["dispatcher"]
        for mapping in self.aws.rest("lambda", "GET", f"{mappings}?FunctionName={function}")["EventSourceMappings"]:
            self.aws.rest("lambda", "PUT", mappings + mapping["UUID"], {"Enabled": enabled})

    def drained(self):
        """Whether the lanes are empty, so that every batch has been answered."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for output, url in self.deployed["outputs"].items():
            if output.endswith("LaneUrl"):
                asked = {"QueueUrl": url, "AttributeNames": names}
                answer = self.aws.target("sqs", "AmazonSQS.GetQueueAttributes", asked, "1.0")
                if any(int(answer["Attributes"][name]) for name in names):
                    return False
        return True

    def batches(self):
        """Batches and messages that the dispatchers have been given so far, as the stand-in's log tells."""
        function = self.deployed["functions"]["dispatcher"]
        sizes = []
        for line in (self.run_dir / "logs" / "ministack.log").read_text(errors="replace").splitlines():
            before, found, after = line.partition(f"ESM: Lambda {function} processed ")
            if found:
                sizes.append(int(after.split()[0]))
        return len(sizes), sum(sizes)


class BareFunction:
    """A queue whose function only posts: the stack's own way from a call of AWS to an endpoint."""

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
        """The calls that a publish cannot do without; answers when they began."""
        began = time.time()
        item = {"pk": {"S": name}, "payload": {"S": "x" * 1024}}
        self._call("dynamodb", "DynamoDB_20120810.PutItem", {"TableName": "bare", "Item": item})
        message = {"Id": "0", "MessageBody": json.dumps({"url": url, "id": name, "pad": "x" * 1024})}
        self._call("sqs", "AmazonSQS.SendMessageBatch", {"QueueUrl": self.queue, "Entries": [message]})
        return began

    def _call(self, service, target, body):
        scope = f"{ADMIN}/20260101/{REGION}/{service}/aws4_request"
        headers = {
            "X-Amz-Target": target,
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        }
        expect(200, self.through_proxy("POST", "/", body, headers))


def bare_client(binary, url, count, size):
    """CPU seconds per post of the bare client."""
    command = [binary, url, str(count), str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        clocks = []
        for word in ("warm", "done"):
            if process.stdout.readline().strip() != word:
                raise Problem("the bare client failed")
            clocks.append(cpu_seconds(process.pid))
            process.stdin.write("\n")
            process.stdin.flush()
    return (clocks[1] - clocks[0]) / count


def expect(status, answer):
    """The answer's body, if the status is the one expected."""
    if answer[0] != status:
        raise Problem(f"expected {status}, got {answer[0]}: {str(answer[1])[:500]}")
    return answer[1]


def at_once(workers, calls):
    """Make calls by several threads; their results in order."""
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
