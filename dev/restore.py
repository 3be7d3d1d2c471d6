"""Puts an earlier state of a table in the place of the present one, under the same name, so that the stack stays as it is.

restore.py stop  --stack-name NAME                    no function runs; messages stay in their queues
restore.py copy  --stack-name NAME --table T --at T0  the table's state at that time, as a table named after it, to look at
restore.py swap  --stack-name NAME --table T --at T0  the rows of that copy in the place of the table's, and its settings
restore.py settings --stack-name NAME --table T --at T0   the settings alone, of a table that was restored by other means
restore.py check --stack-name NAME                    whether Secrets Manager has the versions that the registry names
restore.py start --stack-name NAME                    functions run as before

T is events, registry or audit; T0 is like 2026-11-23T14:00:00Z. docs/runbook.md#restore says when, and what is lost. Each
step can be repeated. Runs in SAM's environment.
"""

import argparse
import json
import time
from datetime import datetime, timezone

import boto3

from base import LOCAL, Problem, main, say

OUTPUTS = {"events": "EventsTableName", "registry": "RegistryTableName", "audit": "AuditTableName"}
TTL = {"events": "expires_at"}
# `repair` examines the events of so many days before the restored time: deliveries whose message was in a lane then have
# no driver in the restored table.
REPAIR_DAYS = 3
# Events live for 30 days and are examined when they are 28 days old.
EXPIRE_DAYS = 28
# The due index has buckets of five minutes. A run looks back some of them.
BUCKET_SECONDS, BUCKETS_BACK = 300, 3
# The last shard of a walk, behind which a pass begins anew.
LAST_SHARD = 4


class Stack:
    """A deployed stack, and what was noted when its functions were stopped."""

    def __init__(self, options):
        self.name = options.stack_name
        self.wait = options.wait_seconds
        cloudformation = boto3.client("cloudformation")
        described = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}
        self.functions = [value for key, value in self.outputs.items() if key.endswith("FunctionName")]
        self.database, self.functions_client = boto3.client("dynamodb"), boto3.client("lambda")
        self.tags = described.get("Tags", [])
        given = {one["ParameterKey"]: one["ParameterValue"] for one in described.get("Parameters", [])}
        # DynamoDB writes -1 for no limit.
        self.limits = {
            f"Max{kind}RequestUnits": int(given.get(f"Max{kind}Units", 0)) or -1 for kind in ("Read", "Write")
        }
        # A stack of another account or region may have the same name.
        place = f"{boto3.client('sts').get_caller_identity()['Account']}-{cloudformation.meta.region_name}"
        self.noted = LOCAL / f"restore-{place}-{self.name}.json"

    def table(self, which):
        """A table's name."""
        return self.outputs[OUTPUTS[which]]

    def mappings(self, function):
        """The readers of a function's queues: the state of each, by its id."""
        pages = self.functions_client.get_paginator("list_event_source_mappings").paginate(FunctionName=function)
        return {one["UUID"]: one["State"] for page in pages for one in page["EventSourceMappings"]}

    def running(self):
        """The functions that can run now, whatever was noted when."""
        for name in self.functions:
            reserved = self.functions_client.get_function_concurrency(FunctionName=name)
            is_stopped = reserved.get("ReservedConcurrentExecutions") == 0
            if not is_stopped or any(state != "Disabled" for state in self.mappings(name).values()):
                yield name

    def describe(self, name):
        """A table, or nothing if there is none."""
        try:
            return self.database.describe_table(TableName=name)["Table"]
        except self.database.exceptions.ResourceNotFoundException:
            return {}

    def status(self, name):
        """A table's status, or nothing if there is none."""
        return self.describe(name).get("TableStatus")

    def update(self, name, **changes):
        """Change a table, and wait until it can be changed again."""
        self.database.update_table(TableName=name, **changes)
        self.until(f"{name} to be changed", lambda: self.status(name) == "ACTIVE")

    def until(self, what, holds):
        """Wait for what AWS does in its own time, hours for a large table."""
        deadline = time.monotonic() + self.wait
        while not holds():
            if time.monotonic() > deadline:
                raise Problem(f"{what}: not after {self.wait} s; repeat this step to wait on")
            time.sleep(1)


def stop(stack, _):
    """Let no function run. What was reserved for each is noted, for `start`."""
    if not stack.noted.exists():
        reserved = {
            name: stack.functions_client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
            for name in stack.functions
        }
        LOCAL.mkdir(exist_ok=True)
        stack.noted.write_text(json.dumps(reserved), encoding="utf-8")
    for name in stack.functions:
        for mapping in stack.mappings(name):
            stack.functions_client.update_event_source_mapping(UUID=mapping, Enabled=False)
        stack.functions_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    stack.until("all functions to be stopped", lambda: not list(stack.running()))
    say(f"{len(stack.functions)} functions of {stack.name} are stopped; what runs ends within five minutes")


def start(stack, _):
    """Let the functions run as before."""
    if not stack.noted.exists():
        raise Problem(f"{stack.noted} does not exist: `stop` was run on another machine, whose file is needed here")
    for name, reserved in json.loads(stack.noted.read_text(encoding="utf-8")).items():
        if reserved is None:
            stack.functions_client.delete_function_concurrency(FunctionName=name)
        else:
            stack.functions_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)
        for mapping in stack.mappings(name):
            stack.functions_client.update_event_source_mapping(UUID=mapping, Enabled=True)
    stack.noted.unlink()
    say(f"the functions of {stack.name} run")


def _copy_of(stack, options):
    """The name of the copy. It holds the time, so that each restore has a copy of its own."""
    return f"{stack.table(options.table)}-{options.at:%Y%m%dT%H%M%SZ}"


def copy(stack, options):
    """The table's state at a time, as a second table."""
    database, name, restored = stack.database, stack.table(options.table), _copy_of(stack, options)
    present = stack.describe(restored)
    if not present:
        try:
            database.restore_table_to_point_in_time(
                SourceTableName=name, TargetTableName=restored, RestoreDateTime=options.at
            )
        except database.exceptions.InvalidRestoreTimeException as error:
            # A table that was swapped is a new one, whose recovery begins then.
            raise Problem(f"{error}; for a time before the last restore use that one's copy and backups") from None
    elif present.get("RestoreSummary", {}).get("RestoreDateTime", options.at) != options.at:
        raise Problem(f"{restored} is of {present['RestoreSummary']['RestoreDateTime']}; delete it, and run `copy` again")
    stack.until(f"{restored} to be there", lambda: stack.status(restored) == "ACTIVE")
    say(f"{restored} has the rows of {options.at:%Y-%m-%d %H:%M:%S} UTC: look at it, then swap")


def swap(stack, options):
    """Put the rows of the copy in the place of the table's."""
    database, name, restored = stack.database, stack.table(options.table), _copy_of(stack, options)
    if stack.status(restored) is None:
        raise Problem(f"{restored} does not exist; run `copy` first")
    running = list(stack.running())
    if running:
        raise Problem(f"{len(running)} functions can run, {running[0]} for one; run `stop` first")
    backup = _backup(stack, restored)
    present = stack.describe(name)
    if present.get("TableStatus") == "DELETING":
        stack.until(f"{name} to be deleted", lambda: stack.status(name) is None)
        present = {}
    if present and present.get("RestoreSummary", {}).get("SourceBackupArn") != backup:
        if present.get("DeletionProtectionEnabled", False):
            stack.update(name, DeletionProtectionEnabled=False)
        # With point-in-time recovery, a deleted table leaves a backup for 35 days.
        database.delete_table(TableName=name)
        stack.until(f"{name} to be deleted", lambda: stack.status(name) is None)
        present = {}
    if not present:
        database.restore_table_from_backup(TargetTableName=name, BackupArn=backup)
    stack.until(f"{name} to be restored", lambda: stack.status(name) == "ACTIVE")
    settings(stack, options)
    # Now this step is done, and not repeated: a later restore to the same time must restore again.
    database.delete_backup(BackupArn=backup)
    say(f"{name} has the rows of {options.at:%Y-%m-%d %H:%M:%S} UTC; {restored} can be deleted")


def _backup(stack, restored):
    """A backup of the copy; that of a step which was interrupted is used again."""
    database = stack.database
    known = database.list_backups(TableName=restored, BackupType="USER")["BackupSummaries"]
    # A copy of this name that was deleted may have left its own.
    table_id = stack.describe(restored)["TableId"]
    arn = next((one["BackupArn"] for one in known if one["TableId"] == table_id), None)
    if arn is None:
        arn = database.create_backup(TableName=restored, BackupName=restored[-16:])["BackupDetails"]["BackupArn"]

    def is_available():
        described = database.describe_backup(BackupArn=arn)["BackupDescription"]
        return described["BackupDetails"]["BackupStatus"] == "AVAILABLE"

    stack.until(f"the backup of {restored} to be there", is_available)
    return arn


def settings(stack, options):
    """Set what a restore leaves out: expiry, recovery, protection, limits of units, tags, the marks of jobs."""
    database, which = stack.database, options.table
    name = stack.table(which)
    if which in TTL:
        expiry = database.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
        if expiry not in ("ENABLED", "ENABLING"):
            enabled = {"Enabled": True, "AttributeName": TTL[which]}
            database.update_time_to_live(TableName=name, TimeToLiveSpecification=enabled)
    recovery = {"PointInTimeRecoveryEnabled": True}
    database.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
    stack.update(name, DeletionProtectionEnabled=True)
    _limits(stack, name)
    arn = stack.describe(name)["TableArn"]
    # CloudFormation's own tags cannot be set.
    if stack.tags:
        database.tag_resource(ResourceArn=arn, Tags=stack.tags)
    if which == "events":
        _marks(stack, options.at)


def _limits(stack, name):
    """Limit the units of a table and its indexes, as the stack's parameters say."""

    def differs(described):
        present = described.get("OnDemandThroughput", {})
        return any(present.get(kind, -1) != units for kind, units in stack.limits.items())

    table = stack.describe(name)
    indexes = [one["IndexName"] for one in table.get("GlobalSecondaryIndexes", []) if differs(one)]
    # DynamoDB refuses a change that changes nothing.
    if differs(table):
        stack.update(name, OnDemandThroughput=stack.limits)
    if indexes:
        updates = [{"Update": {"IndexName": index, "OnDemandThroughput": stack.limits}} for index in indexes]
        stack.update(name, GlobalSecondaryIndexUpdates=updates)


def _marks(stack, at):
    """Set the jobs back: entries of the due index from before the restore are behind their marks."""
    seconds = int(at.timestamp())
    marks = {"due": {"bucket": seconds // BUCKET_SECONDS - BUCKETS_BACK}}
    for job, days in (("repair", REPAIR_DAYS), ("expire", EXPIRE_DAYS)):
        begin = (seconds - days * 86_400) * 1000
        marks[job] = {"from": begin, "to": begin, "shard": LAST_SHARD}
    for job, numbers in marks.items():
        item = {key: {"N": str(number)} for key, number in numbers.items()}
        item |= {"pk": {"S": "progress#"}, "sk": {"S": job}}
        stack.database.put_item(TableName=stack.table("registry"), Item=item)


def check(stack, _):
    """Whether each version that the registry names can still be read."""
    secrets = boto3.client("secretsmanager")
    pages = stack.database.get_paginator("scan").paginate(
        TableName=stack.table("registry"),
        FilterExpression="begins_with(pk, :secrets) AND begins_with(sk, :pointers)",
        ExpressionAttributeValues={":secrets": {"S": "secrets#"}, ":pointers": {"S": "pointer#"}},
    )
    pointers = [row for page in pages for row in page["Items"]]
    missing = []
    for row in pointers:
        holder, shard = row["pk"]["S"].removeprefix("secrets#"), row["shard"]["N"]
        document = f"{row['tenant']['S']}/shard-{shard}" if "tenant" in row else f"pool/{shard}"
        name = f"{stack.name}/{holder}/{document}"
        try:
            secrets.get_secret_value(SecretId=name, VersionId=row["version"]["S"])
        except secrets.exceptions.ResourceNotFoundException:
            missing.append(name)
    say(f"{len(pointers)} documents of secrets are named by the registry, {len(missing)} versions are gone")
    if missing:
        raise Problem("gone, so their keys must be made again: " + ", ".join(missing))


def _time(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (stop, copy, swap, settings, check, start):
        one = commands.add_parser(run.__name__, help=run.__doc__)
        one.add_argument("--stack-name", required=True)
        one.add_argument("--wait-seconds", type=int, default=86_400)
        if run in (copy, swap, settings):
            one.add_argument("--table", choices=OUTPUTS, required=True)
            one.add_argument("--at", type=_time, required=True)
        one.set_defaults(run=run)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: arguments.run(Stack(arguments), arguments))
