"""Sends messages from a queue to a function as Lambda's event source mapping does. Only `make watch` uses it."""

import json
import threading

from aws import Aws, http
from base import REGION, Problem

# Concurrent batches per queue, as on the local stack.
WORKERS = 4
# The first invocation may have to build the function.
INVOKE_SECONDS = 600


class Relay:
    """Receives batches, posts each as an SQS event, and deletes the messages that did not fail.

    `report` is called with the text of each failure, from several threads.
    """

    def __init__(self, endpoint_url, queue_url, invoke_url, report):
        self.aws = Aws(endpoint_url)
        self.queue_url = queue_url
        self.invoke_url = invoke_url
        self.report = report
        self.stopped = threading.Event()

    def stop(self):
        """Receive no more, and report no errors while the stack stops."""
        self.stopped.set()

    def start(self):
        """Start the workers in the background. They end with the process."""
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while not self.stopped.is_set():
            try:
                self.relay_batch()
            except Exception as error:  # pylint: disable=broad-except
                # Whatever it was, the queue needs this worker for its next messages.
                if not self.stopped.is_set():
                    shown = error if isinstance(error, Problem) else repr(error)
                    self.report(f"relay of {self.queue_url.rpartition('/')[2]}: {shown}")
                    self.stopped.wait(1)

    def relay_batch(self):
        """Wait for one batch, invoke the function, and delete what succeeded."""
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
        status, _, response = http(
            "POST", self.invoke_url, body, {"Content-Type": "application/json"}, timeout=INVOKE_SECONDS
        )
        if status != 200:
            # As after a crash: nothing is deleted, and the messages reappear after their visibility timeout.
            raise Problem(f"{self.invoke_url} returned {status}: {response.decode(errors='replace')[:500]}")
        failed = failed_ids(response, messages)
        succeeded = [message for message in messages if message["MessageId"] not in failed]
        if succeeded:
            entries = [{"Id": str(i), "ReceiptHandle": one["ReceiptHandle"]} for i, one in enumerate(succeeded)]
            self._sqs("DeleteMessageBatch", Entries=entries)

    def _sqs(self, action, **parameters):
        return self.aws.target("sqs", f"AmazonSQS.{action}", parameters | {"QueueUrl": self.queue_url}, "1.0") or {}


def failed_ids(body, messages):
    """The ids of the failed messages: those in the response, or all of them if the response is malformed."""
    all_ids = {message["MessageId"] for message in messages}
    try:
        response = json.loads(body) if body.strip() else None
    except ValueError:
        return all_ids
    if response is None:
        return set()
    if not isinstance(response, dict) or "errorType" in response:
        return all_ids
    named = {entry.get("itemIdentifier") for entry in response.get("batchItemFailures") or []}
    return named if named <= all_ids else all_ids


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
