"""Deploys what `make build` has built, keeps each release, and goes back to the one deployed before it.

release.py deploy --env ENV [--ci] [--force] [--at-once]
release.py rollback --env ENV [--ci]     the release deployed before this one: no build, the same parameters as then
release.py list --env ENV

A release is the packaged template, whose code is in the bucket by its digest, and the parameters, both under
PREFIX/releases/ in the bucket that SAM made. It is kept before its deployment begins, and marked when that has ended, so
that one which was interrupted can be taken back, too. Runs in SAM's environment.
"""

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse

import preflight
from base import ROOT, Problem, main, say

SAM = Path(sys.executable).parent / "sam"
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
PACKAGED = ROOT / ".aws-sam" / "release.yaml"
# Of the stack that SAM makes for itself in each region.
SAM_STACK = "aws-sam-cli-managed-default"
SHOWN = 20
# The ending of the object that says that a release was deployed.
DEPLOYED = ".deployed"

# What an update may never do to a production stack. A person who means it sets another policy for that update.
# Removal is allowed: a rollback removes what the newer release has added, and `RetainExceptOnCreate` keeps what it holds.
STACK_POLICY = {
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "Update:*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "Update:Replace",
            "Resource": "*",
            "Condition": {
                "StringEquals": {
                    "ResourceType": [
                        "AWS::DynamoDB::Table",
                        "AWS::S3::Bucket",
                        "AWS::SQS::Queue",
                        "AWS::SecretsManager::Secret",
                    ]
                }
            },
        },
    ]
}


class Place:
    """An environment's stack, and where its releases are kept."""

    def __init__(self, options):
        self.options = options
        self.section = preflight.configured(options.env)
        deploy = self.section["deploy"]["parameters"]
        self.stack = options.stack_name or self.section["global"]["parameters"]["stack_name"]
        self.prefix = f"{deploy['s3_prefix']}/releases/"
        self.cloudformation = boto3.client("cloudformation")
        self.s3 = boto3.client("s3")
        self.bucket = options.bucket or self.bucket_of_sam()

    def bucket_of_sam(self):
        """The bucket that SAM made for packages, if there is one."""
        # SAM makes its bucket with the first package; --resolve-s3 on a template that exists is that.
        try:
            outputs = self.cloudformation.describe_stacks(StackName=SAM_STACK)["Stacks"][0]["Outputs"]
        except self.cloudformation.exceptions.ClientError:
            return None
        return next(one["OutputValue"] for one in outputs if one["OutputKey"] == "SourceBucket")

    def deployed(self):
        """The release that is deployed, or nothing."""
        try:
            stack = self.cloudformation.describe_stacks(StackName=self.stack)["Stacks"][0]
        except self.cloudformation.exceptions.ClientError:
            return None
        given = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
        return given.get("Release")

    def kept(self):
        """The releases that are kept, the oldest first, by time and digest; and those of them that were deployed."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        names = {one["Key"] for page in pages for one in page.get("Contents", ())}
        keys = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
        return keys, {key for key in keys if f"{key}{DEPLOYED}" in names}

    def past(self):
        """The releases that were deployed, the oldest first, and the index of the one that is now."""
        now = self.deployed()
        keys, marked = self.kept()
        current = next((key for key in reversed(keys) if now and key.endswith(now)), None)
        # A deployment that was interrupted has no mark, and is deployed all the same.
        keys = [key for key in keys if key in marked or key == current]
        return keys, None if current is None else keys.index(current)

    def was_tried(self, release):
        """Whether a deployment of this release began, and ended in another one."""
        keys, marked = self.kept()
        return self.deployed() != release and any(key.endswith(release) for key in keys if key not in marked)

    def keep(self, release, template, parameters):
        """Keep a release that is about to be deployed; its key."""
        keys, index = self.past()
        if index is not None:
            self.mark(keys[index])
            # What is newer than the deployed one was taken back, so no rollback may lead there.
            self.forget(keys[index + 1 :])
        key = f"{self.prefix}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{release}"
        self.s3.put_object(Bucket=self.bucket, Key=f"{key}.yaml", Body=template.encode())
        self.s3.put_object(Bucket=self.bucket, Key=f"{key}.json", Body=json.dumps(parameters, indent=1).encode())
        return key

    def mark(self, key):
        """Note that a release was deployed. If it was before, it is the newest now, and kept once."""
        self.s3.put_object(Bucket=self.bucket, Key=f"{key}{DEPLOYED}", Body=b"")
        release = key.rpartition("-")[2]
        self.forget([one for one in self.kept()[0] if one.endswith(release) and one != key])

    def forget(self, keys):
        """Keep these releases no longer."""
        for key in keys:
            for ending in (DEPLOYED, ".json", ".yaml"):
                self.s3.delete_object(Bucket=self.bucket, Key=key + ending)

    def front_version(self):
        """The parameter with the version of the front's secret, if there is one."""
        secrets = boto3.client("secretsmanager")
        try:
            stages = secrets.describe_secret(SecretId=f"{self.stack}/front")["VersionIdsToStages"]
        except secrets.exceptions.ResourceNotFoundException:
            return {}
        return {"FrontSecretVersion": version for version, names in stages.items() if "AWSCURRENT" in names}

    def read(self, key):
        """A release: its template and its parameters."""
        body = {
            ending: self.s3.get_object(Bucket=self.bucket, Key=key + ending)["Body"].read().decode()
            for ending in (".yaml", ".json")
        }
        return body[".yaml"], json.loads(body[".json"])

    def apply(self, template, parameters):
        """Deploy a packaged template by SAM."""
        PACKAGED.parent.mkdir(exist_ok=True)
        PACKAGED.write_text(template, encoding="utf-8")
        asks = self.section["deploy"]["parameters"]["confirm_changeset"] and not self.options.ci
        command = [
            SAM, "deploy", "--template-file", PACKAGED,
            "--config-file", ROOT / "samconfig.toml", "--config-env", self.options.env,
            "--stack-name", self.stack, "--s3-bucket", self.bucket, "--no-resolve-s3",
            "--confirm-changeset" if asks else "--no-confirm-changeset",
            *(["--role-arn", self.options.role] if self.options.role else []),
            "--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items()),
        ]  # fmt: skip
        if subprocess.run(list(map(str, command)), cwd=ROOT, check=False).returncode != 0:
            raise Problem(f"{self.stack} was not deployed; CloudFormation has taken it back")
        if self.deployed() != parameters["Release"]:
            raise Problem(f"{self.stack} was not deployed, because its changes were declined")
        if self.options.env == "prod":
            self.cloudformation.update_termination_protection(StackName=self.stack, EnableTerminationProtection=True)
            self.cloudformation.set_stack_policy(StackName=self.stack, StackPolicyBody=json.dumps(STACK_POLICY))


def digest(template, parameters, attempt=0):
    """The same template with the same parameters is the same release, and publishes no new version.

    One that was taken back has published its versions already, and Lambda refuses to publish the same again. So the next
    attempt is a release of its own.
    """
    return hashlib.sha256(json.dumps([template, sorted(parameters.items()), attempt]).encode()).hexdigest()


def deploy(options):
    """Check, package, deploy and keep."""
    preflight.check(options.env, options.force, options.stack_name)
    place = Place(options)
    given = preflight.overrides(place.section) | dict(options.param)
    # In the digest, too: CloudFormation reads a secret again only if the reference to it has changed.
    given |= place.front_version()
    given["AccountConcurrency"] = str(preflight.account_limits()["ConcurrentExecutions"])
    PACKAGED.parent.mkdir(exist_ok=True)
    target = ["--s3-bucket", place.bucket] if place.bucket else ["--resolve-s3"]
    command = [
        SAM, "package", "--template-file", options.template, "--output-template-file", PACKAGED, *target,
        "--s3-prefix", place.section["deploy"]["parameters"]["s3_prefix"],
    ]  # fmt: skip
    # Not the configuration of `sam deploy`, whose keys `sam package` does not know.
    if subprocess.run(list(map(str, command)), cwd=PACKAGED.parent, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        raise Problem("sam package failed; see above")
    place.bucket = place.bucket or place.bucket_of_sam()
    template = PACKAGED.read_text(encoding="utf-8")
    attempts = (digest(template, given, attempt) for attempt in itertools.count())
    release = next(release for release in attempts if not place.was_tried(release))
    parameters = given | {"Release": release} | ({"GradualDeploys": "false"} if options.at_once else {})
    key = place.keep(release, template, parameters)
    place.apply(template, parameters)
    place.mark(key)
    say(f"release {release[:12]} is deployed to {place.stack}")


def rollback(options):
    """Deploy the release that was deployed before this one."""
    place = Place(options)
    preflight.settle(options.env, preflight.account_problems(options.env, place.section), options.force)
    keys, index = place.past()
    if index is None:
        # A deployment that failed is not deployed, and CloudFormation has gone back to what is.
        raise Problem(f"the deployed release of {place.stack} is not among those kept: {[_shown(key) for key in keys]}")
    if index == 0:
        raise Problem(f"there is no release before {_shown(keys[0])}")
    template, parameters = place.read(keys[index - 1])
    # Not gradually: while the alarm fires, CodeDeploy stops each deployment, and a person waits for this one.
    parameters["GradualDeploys"] = "false"
    # The secret does not go back: CloudFront sends the present one.
    parameters |= place.front_version()
    say(f"from {_shown(keys[index])} back to {_shown(keys[index - 1])}")
    known = yaml_parse(template)["Parameters"]
    place.apply(template, {name: value for name, value in parameters.items() if name in known})


def show(options):
    """List the releases."""
    keys, index = Place(options).past()
    current = None if index is None else keys[index]
    for key in keys[-SHOWN:]:
        say(f"{_shown(key)}{'  deployed' if key == current else ''}")


def _shown(key):
    name = key.rpartition("/")[2]
    return name[: name.index("-") + 13]


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("deploy", deploy), ("rollback", rollback), ("list", show)):
        one = commands.add_parser(name, help=run.__doc__)
        one.add_argument("--env", required=True)
        one.add_argument("--stack-name", help="another one than samconfig.toml says")
        one.add_argument("--bucket", help="another one than SAM's")
        one.add_argument("--template", type=Path, default=BUILT, help="another one than `sam build` made")
        one.add_argument("--param", type=lambda text: text.split("=", 1), action="append", default=[], metavar="K=V")
        one.add_argument("--role", help="the role that CloudFormation takes, for a caller that may do nothing else")
        one.add_argument("--ci", action="store_true", help="do not ask")
        one.add_argument("--at-once", action="store_true", help="all requests to the new version, whatever the alarm says")
        one.add_argument("--force", action="store_true", help="in spite of the checks")
        one.set_defaults(run=run)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: arguments.run(arguments))
