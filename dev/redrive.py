"""`make redrive`: moves unreadable messages back to the queues that they came from.

redrive.py --stack-name NAME [--from Unreadable|DeadLetters] [--limit N]

Run it once a version is deployed that can read them. AWS's own redrive (StartMessageMoveTask) moves only messages that
SQS itself moved to a dead-letter queue, and the rescuer sent these. A message is deleted only after its copy was sent,
so an interrupted run may duplicate messages and never loses one. Runs in SAM's environment, which has the SDK.
"""

import argparse
import json
import sys

import boto3

BATCH = 10
# How long received messages stay hidden. Sending ten takes far less.
VISIBILITY_SECONDS = 60


def outputs(name):
    """The outputs of a deployed stack."""
    stacks = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def entry(index, message):
    """The batch entry that sends a message again, in its tenant's group."""
    group = message.get("Attributes", {}).get("MessageGroupId")
    copy = {"Id": str(index), "MessageBody": message["Body"]}
    return copy | ({"MessageGroupId": group} if group else {})


def is_page(message):
    """Whether a message is a page of a wide fan-out. Pages have a queue of their own."""
    try:
        body = json.loads(message["Body"])
    except ValueError:
        return False
    return isinstance(body, dict) and "page" in body


def send(sqs, target, messages):
    """Send copies of messages; returns those that were sent, and prints why others failed."""
    if not messages:
        return []
    response = sqs.send_message_batch(
        QueueUrl=target, Entries=[entry(index, message) for index, message in enumerate(messages)]
    )
    for failed in response.get("Failed", []):
        print(f"could not send a message: {failed.get('Message') or failed['Code']}", file=sys.stderr)
    return [messages[int(success["Id"])] for success in response.get("Successful", [])]


def move(sqs, source, lane, pages, limit):
    """Move up to `limit` messages to their queues; returns how many were moved."""
    moved = 0
    while moved < limit:
        received = sqs.receive_message(
            QueueUrl=source,
            MaxNumberOfMessages=min(BATCH, limit - moved),
            VisibilityTimeout=VISIBILITY_SECONDS,
            WaitTimeSeconds=1,
            AttributeNames=["All"],
        ).get("Messages", [])
        if not received:
            break
        sent = send(sqs, lane, [message for message in received if not is_page(message)])
        sent += send(sqs, pages, [message for message in received if is_page(message)])
        if sent:
            entries = [{"Id": str(index), "ReceiptHandle": one["ReceiptHandle"]} for index, one in enumerate(sent)]
            sqs.delete_message_batch(QueueUrl=source, Entries=entries)
        moved += len(sent)
        if len(sent) < len(received):
            break
    return moved


def main():
    """Move messages, and print how many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack-name", required=True)
    parser.add_argument("--from", dest="source", default="Unreadable", choices=["Unreadable", "DeadLetters"])
    parser.add_argument("--limit", type=int, default=100_000)
    options = parser.parse_args()
    urls = outputs(options.stack_name)
    source, lane, pages = (urls[f"{name}Url"] for name in (options.source, "SlowLane", "FanOutPages"))
    moved = move(boto3.client("sqs"), source, lane, pages, options.limit)
    print(f"moved {moved} messages from {options.source} to the lanes of {options.stack_name}")


if __name__ == "__main__":
    main()
