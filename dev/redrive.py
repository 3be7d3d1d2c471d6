"""`make redrive`: sends what was set apart back to where it is worked on, once there is a version that can read it.

redrive.py --stack-name NAME [--from Unreadable|DeadLetters] [--limit N]

AWS's own redrive (StartMessageMoveTask) takes messages only back to where they came from as dead letters, and the
rescuer sent these by itself. A message is deleted only after the lane has taken its copy, so what is stopped half-way
is sent twice and never lost. Runs in SAM's environment, which has the SDK.
"""

import argparse
import json
import sys

import boto3

BATCH = 10
# How long a message is ours alone; sending ten takes far less.
VISIBILITY_SECONDS = 60


def outputs(name):
    """The template's outputs of a deployed stack."""
    stacks = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def entry(at, message):
    """The message as it is sent again, in its tenant's group."""
    group = message.get("Attributes", {}).get("MessageGroupId")
    sent = {"Id": str(at), "MessageBody": message["Body"]}
    return sent | ({"MessageGroupId": group} if group else {})


def is_page(message):
    """Whether a message is a page of a wide fan-out, which has a queue of its own."""
    try:
        body = json.loads(message["Body"])
    except ValueError:
        return False
    return isinstance(body, dict) and "page" in body


def send(sqs, target, messages):
    """Send copies of messages; answers those that were taken, and says why others were not."""
    if not messages:
        return []
    answer = sqs.send_message_batch(
        QueueUrl=target, Entries=[entry(at, message) for at, message in enumerate(messages)]
    )
    for failed in answer.get("Failed", []):
        print(f"not taken: {failed.get('Message') or failed['Code']}", file=sys.stderr)
    return [messages[int(one["Id"])] for one in answer.get("Successful", [])]


def move(sqs, source, lane, pages, limit):
    """Move up to `limit` messages to the queues they are for; answers how many were."""
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
        taken = send(sqs, lane, [one for one in received if not is_page(one)])
        taken += send(sqs, pages, [one for one in received if is_page(one)])
        if taken:
            handles = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(taken)]
            sqs.delete_message_batch(QueueUrl=source, Entries=handles)
        moved += len(taken)
        if len(taken) < len(received):
            break
    return moved


def main():
    """Move messages, and say how many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack-name", required=True)
    parser.add_argument("--from", dest="source", default="Unreadable", choices=["Unreadable", "DeadLetters"])
    parser.add_argument("--limit", type=int, default=100_000)
    options = parser.parse_args()
    found = outputs(options.stack_name)
    source, lane, pages = (found[f"{name}Url"] for name in (options.source, "SlowLane", "FanOutPages"))
    moved = move(boto3.client("sqs"), source, lane, pages, options.limit)
    print(f"{moved} messages moved from {options.source} back to the lanes of {options.stack_name}")


if __name__ == "__main__":
    main()
