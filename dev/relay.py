"""Carries messages from a queue to a function as Lambda's event source mapping does; only `make watch` needs it."""

import json
import threading

from aws import Aws, http
from base import REGION, Problem, say

# How many batches at once, as on the local stack.
WORKERS = 4
# Building may come first, so an invocation may take long.
INVOKE_SECONDS = 600


class Relay:
    """Receives batches, posts them as an SQS event, and deletes what did not fail."""

    def __init__(self, endpoint_url, queue_url, invoke_url):
        self.aws = Aws(endpoint_url)
        self.queue_url = queue_url
        self.invoke_url = invoke_url
        self.stopped = threading.Event()

    def stop(self):
        """Take no more, and say nothing when the stack goes."""
        self.stopped.set()

    def start(self):
        """Begin, in the background; it ends with the process."""
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while not self.stopped.is_set():
            try:
                self.once()
            except Problem as problem:
                if not self.stopped.is_set():
                    say(f"relay: {problem}")
                    self.stopped.wait(1)

    def once(self):
        """Wait for one batch and see it through."""
        messages = self._sqs(
            "ReceiveMessage",
            MaxNumberOfMessages=10,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not messages:
            return
        event = {"Records": [_record(message, self.queue_url) for message in messages]}
        body = json.dumps(event).encode()
        status, _, answer = http(
            "POST", self.invoke_url, body, {"Content-Type": "application/json"}, timeout=INVOKE_SECONDS
        )
        if status != 200:
            # As after a crash: nothing is deleted, the messages come back when their visibility ends.
            raise Problem(f"the dispatcher answered {status}: {answer.decode(errors='replace')[:500]}")
        failed = failures(answer, messages)
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            entries = [{"Id": str(i), "ReceiptHandle": one["ReceiptHandle"]} for i, one in enumerate(done)]
            self._sqs("DeleteMessageBatch", Entries=entries)

    def _sqs(self, action, **parameters):
        return self.aws.target("sqs", f"AmazonSQS.{action}", parameters | {"QueueUrl": self.queue_url}, "1.0") or {}


def failures(answer, messages):
    """The ids of the messages to keep: those named, or all of them when the answer makes no sense."""
    everything = {message["MessageId"] for message in messages}
    try:
        response = json.loads(answer) if answer.strip() else None
    except ValueError:
        return everything
    if response is None:
        return set()
    if not isinstance(response, dict) or "errorType" in response:
        return everything
    named = {entry.get("itemIdentifier") for entry in response.get("batchItemFailures") or []}
    return named if named <= everything else everything


def _record(message, queue_url):
    account, name = queue_url.split("/")[-2:]
    attributes = message.get("MessageAttributes", {})
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "md5OfBody": message["MD5OfBody"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            key: {inner[:1].lower() + inner[1:]: value for inner, value in attribute.items()}
            for key, attribute in attributes.items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{account}:{name}",
        "awsRegion": REGION,
    }
