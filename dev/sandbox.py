"""Deploys to a real account, runs journeys through the deployed API, and removes everything.

sandbox.py --account ID [--keep]        after `make build ENV=sandbox`
sandbox.py --account ID --remove-only   what an earlier run left

The account must be named, and is compared with the credentials: everything of the stack is removed in the end, data
included. First it finds out what only a real account shows: whether API Gateway takes the API that SAM describes, and whether
DynamoDB takes arithmetic in PartiQL. Runs in SAM's environment.
"""

import argparse
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from base import DEV, LOCAL, ROOT, Problem, main, say

ENV = "sandbox"
STACK = "core-webhooks-sandbox"
RECEIVER = f"{STACK}-receiver"
TENANT = "sandbox"
# A new deployment's first requests are slow, and its schedules begin within a minute or two.
SECONDS = 180


class Api:
    """The deployed API, as the operator."""

    def __init__(self, outputs):
        self.url = outputs["ApiUrl"]
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=outputs["OperatorKeySecretArn"])
        self.key = json.loads(secret["SecretString"])["key"]

    def call(self, method, path, body=None, headers=(), raw=None, tenant=TENANT):
        """One request; the status and the JSON of the response."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        sent |= {"tenant": tenant} if tenant else {}
        request = urllib.request.Request(self.url + path, data, sent | dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=35) as response:
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())

    def expect(self, status, *call, **more):
        """The same, where another status ends the run."""
        actual, response = self.call(*call, **more)
        if actual != status:
            raise Problem(f"{call[0]} {call[1]} returned {actual}, and not {status}: {response}")
        return response


class Inbox:
    """The receiver's queue."""

    def __init__(self, outputs):
        self.url, self.queue = outputs["Url"].rstrip("/"), outputs["Queue"]
        self.client, self.received = boto3.client("sqs"), []

    def until(self, path, count=1):
        """Wait for so many webhooks of a path; the first of them."""

        def look():
            self.take()
            found = [one for one in self.received if one["path"] == path]
            return found[0] if len(found) >= count else None

        return until(f"{count} webhooks at {path}", look)

    def take(self):
        """Take what has come since."""
        page = self.client.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in page.get("Messages", ()):
            self.received.append(json.loads(message["Body"]))
            self.client.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])


def _json(body):
    try:
        return json.loads(body) if body.strip() else None
    except json.JSONDecodeError:
        return body.decode(errors="replace")


def until(what, look):
    """Wait until something is there."""
    deadline = time.monotonic() + SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise Problem(f"{what}: not within {SECONDS} s")
        time.sleep(1)
    return found


def outputs_of(stack):
    """The outputs of a stack."""
    described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", ())}


def arithmetic(outputs):
    """Whether DynamoDB takes `SET n = n + 5`, which statistics are counted with."""
    database, table = boto3.client("dynamodb"), outputs["LeasesTableName"]
    key = {"pk": {"S": "sandbox#"}, "sk": {"S": "arithmetic"}}
    database.put_item(TableName=table, Item=key | {"n": {"N": "1"}})
    statement = f"UPDATE \"{table}\" SET \"n\"=\"n\" + 5 WHERE \"pk\"='sandbox#' AND \"sk\"='arithmetic'"
    database.execute_statement(Statement=statement)
    number = database.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]["n"]["N"]
    if number != "6":
        raise Problem(f"PartiQL made {number} of 1 + 5")


def routes(api):
    """Whether the API that SAM describes has its routes, with path parameters of all kinds."""
    api.expect(200, "GET", "/v1/openapi.json")
    api.expect(404, "GET", "/v1/endpoints/ept_00000000000000000000000000")
    for path in ("/in/stripe/src_1", "/in/github/src_1", "/in/custom/src_1/secret/more"):
        status, response = api.call("POST", path, {})
        # Our own problem, and not `{"message":"Not Found"}` of the gateway.
        if status == 404 and isinstance(response, dict) and "message" in response:
            raise Problem(f"{path} has no route: {response}")
    say(f"  a path with %2F arrives as {api.call('GET', '/v1/endpoints/a%2Fb')[1]}")


def deliver(api, inbox):
    """A webhook from publish to a signature that fits."""
    endpoint = api.expect(201, "POST", "/v1/endpoints", {"url": f"{inbox.url}/hook", "event_types": ["sandbox.made"]})
    event = {"type": "sandbox.made", "data": {"n": 1}}
    accepted = api.expect(202, "POST", "/v1/events", event, headers={"idempotency-key": "sandbox-1"})
    again = api.expect(202, "POST", "/v1/events", event, headers={"idempotency-key": "sandbox-1"})
    if accepted["id"] != again["id"]:
        raise Problem("a repeated publish made a second event")
    hook = inbox.until("/hook")
    headers, body = hook["headers"], hook["body"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    key = base64.b64decode(endpoint["secret"].removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    if expected not in headers["webhook-signature"].split(" "):
        raise Problem(f"the signature does not fit: {headers}")
    _status(api, accepted["id"], "succeeded")


def retry(api, inbox):
    """A failed attempt is repeated, by the slow lane."""
    settings = {"url": f"{inbox.url}/down", "event_types": ["sandbox.failing"], "retry_schedule_seconds": [5]}
    api.expect(201, "POST", "/v1/endpoints", settings)
    accepted = api.expect(202, "POST", "/v1/events", {"type": "sandbox.failing", "data": {}})
    inbox.until("/down", 2)
    _status(api, accepted["id"], "exhausted")


def receive(api):
    """A webhook of Stripe's becomes an event, and one with a wrong signature none."""
    secret = "whsec_" + "s" * 32
    source = api.expect(201, "POST", "/v1/sources", {"provider": "stripe", "secrets": [secret]})
    body = json.dumps({"id": "evt_sandbox", "object": "event", "type": "charge.succeeded", "data": {"object": {}}}).encode()
    at = str(int(time.time()))
    good = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    for signature, expected in ((good, (200, 202)), ("0" * 64, (401,))):
        header = {"stripe-signature": f"t={at},v1={signature}"}
        status, response = api.call("POST", f"/in/stripe/{source['id']}", headers=header, raw=body)
        if status not in expected:
            raise Problem(f"a webhook of Stripe's got {status}: {response}")


def jobs(outputs):
    """The schedules run their jobs."""
    logs, group = boto3.client("logs"), f"/aws/lambda/{STACK}/scheduler"
    for job in ("due", "reconciled"):
        pattern = f'{{ $.message = "{job}" }}'
        until(f"a run of {job}", lambda: logs.filter_log_events(logGroupName=group, filterPattern=pattern)["events"] or None)
    waiting = boto3.client("sqs").get_queue_attributes(
        QueueUrl=outputs["JobsDeadLettersUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]["ApproximateNumberOfMessages"]
    if waiting != "0":
        raise Problem(f"{waiting} runs of jobs could not begin")


def _status(api, event_id, expected):
    def look():
        page = api.expect(200, "GET", f"/v1/events/{event_id}/deliveries")
        return page if any(one["status"] == expected for one in page["data"]) else None

    until(f"a delivery to be {expected}", look)


def journeys():
    """All checks, each with its time; the first that fails ends the run."""
    outputs, inbox = outputs_of(STACK), Inbox(outputs_of(RECEIVER))
    api = Api(outputs)
    # 409 where an earlier run was kept.
    api.call("POST", "/v1/tenants", {"id": TENANT, "name": "Sandbox"}, tenant=None)
    for name, check in (
        ("arithmetic in PartiQL", lambda: arithmetic(outputs)),
        ("routes of the API", lambda: routes(api)),
        ("a webhook, signed and once", lambda: deliver(api, inbox)),
        ("a failing endpoint", lambda: retry(api, inbox)),
        ("a webhook of a provider", lambda: receive(api)),
        ("the jobs", lambda: jobs(outputs)),
    ):
        began = time.monotonic()
        check()
        say(f"ok    {name}, {time.monotonic() - began:.1f} s")


def _named():
    """The file that names what is to be removed, until all of it is."""
    account = boto3.client("sts").get_caller_identity()["Account"]
    return LOCAL / f"sandbox-{account}-{boto3.session.Session().region_name}.json"


def remove():
    """Remove the stacks and what they retain. What fails is reported in the end, and is tried again by --remove-only."""
    cloudformation, named = boto3.client("cloudformation"), _named()
    # A stack that is gone cannot be asked what it retained, so all is noted before.
    left = [tuple(one) for one in json.loads(named.read_text(encoding="utf-8"))] if named.exists() else []
    stacks = []
    # The receiver first: it is open to the internet.
    for stack in (RECEIVER, STACK):
        try:
            pages = list(cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack))
        except cloudformation.exceptions.ClientError as error:
            if "does not exist" not in str(error):
                raise
            continue
        stacks.append(stack)
        resources = (one for page in pages for one in page["StackResourceSummaries"])
        left += [(one["ResourceType"], one["PhysicalResourceId"]) for one in resources if one.get("PhysicalResourceId")]
    left = list(dict.fromkeys(left))
    LOCAL.mkdir(exist_ok=True)
    named.write_text(json.dumps(left), encoding="utf-8")
    failed = []

    def attempt(what, call):
        try:
            call()
        except (BotoCoreError, ClientError) as error:
            failed.append(f"{what}: {error}")

    for stack in stacks:
        attempt(stack, lambda stack=stack: _remove_stack(cloudformation, stack))
    for kind, name in left:
        attempt(f"{kind} {name}", lambda kind=kind, name=name: _remove_resource(kind, name))
    attempt("secrets", _remove_secrets)
    if failed:
        raise Problem("\n       ".join(["not all is removed; run this again with --remove-only", *failed]))
    named.unlink()
    say(f"{STACK} is removed; packages remain in SAM's bucket under {STACK}/")


def _remove_stack(cloudformation, stack):
    cloudformation.delete_stack(StackName=stack)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack)


def _remove_secrets():
    secrets = boto3.client("secretsmanager")
    named = [{"Key": "name", "Values": [f"{STACK}/"]}]
    for page in secrets.get_paginator("list_secrets").paginate(Filters=named):
        for secret in page["SecretList"]:
            secrets.delete_secret(SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True)


def _remove_resource(kind, name):
    if kind == "AWS::DynamoDB::Table":
        client = boto3.client("dynamodb")
        gone, call = client.exceptions.ResourceNotFoundException, lambda: client.delete_table(TableName=name)
    elif kind == "AWS::SQS::Queue":
        client = boto3.client("sqs")
        gone, call = client.exceptions.QueueDoesNotExist, lambda: client.delete_queue(QueueUrl=name)
    elif kind == "AWS::S3::Bucket":
        client = boto3.client("s3")
        gone, call = client.exceptions.NoSuchBucket, lambda: _remove_bucket(client, name)
    elif kind == "AWS::Lambda::Function":
        # Lambda made the receiver's log group, which is in no stack.
        client, group = boto3.client("logs"), f"/aws/lambda/{name}"
        gone, call = client.exceptions.ResourceNotFoundException, lambda: client.delete_log_group(logGroupName=group)
    else:
        return
    try:
        call()
    except gone:
        pass


def _remove_bucket(client, name):
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for one in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=one["Key"])
    client.delete_bucket(Bucket=name)


def _run(command):
    if subprocess.run(list(map(str, command)), cwd=ROOT, check=False).returncode != 0:
        raise Problem(f"{Path(command[1]).name} {command[2]} failed; see above")


def run(options):
    """Deploy, run the journeys, and remove everything, whatever happened."""
    actual = boto3.client("sts").get_caller_identity()["Account"]
    if actual != options.account:
        raise Problem(f"the credentials are of account {actual}, and not of {options.account}")
    try:
        if not options.remove_only:
            sam = Path(sys.executable).parent / "sam"
            _run([sys.executable, DEV / "release.py", "deploy", "--env", ENV, "--ci", *options.deploy])
            _run(
                [
                    sam, "deploy", "--template-file", DEV / "sandbox-receiver.yaml", "--stack-name", RECEIVER,
                    "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-fail-on-empty-changeset",
                ]  # fmt: skip
            )
            journeys()
            say("all journeys are done")
    except Problem as problem:
        # What then fails to be removed must not hide it.
        say(f"failed: {problem}")
        raise
    finally:
        if not options.keep:
            remove()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--account", required=True)
    parser.add_argument("--keep", action="store_true", help="leave the stack for a look at it")
    parser.add_argument("--remove-only", action="store_true")
    parser.add_argument("deploy", nargs="*", help="further arguments of release.py, behind --")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: run(arguments))
