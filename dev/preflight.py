"""Checks before a deployment what AWS would only show under load, or in the wrong account.

preflight.py --env ENV [--force] [--stack-name NAME]

1. The credentials are of the account that samconfig.toml names for this environment.
2. The account has room for all consumers at once, beside a fifth that is left for requests.
3. Parameters that belong together are set together.

A problem ends a deployment of prod; elsewhere, and with --force, it is printed. Runs in SAM's environment.
"""

import argparse

import boto3
import tomlkit
from samcli.yamlhelper import yaml_parse

from base import ROOT, Problem, main, say

# The share of the account's executions that consumers leave for requests, and for other stacks.
LEFT_FOR_REQUESTS = 0.2
# Lambda refuses reservations that leave less than this unreserved.
LEAST_UNRESERVED = 100
# The least that SQS's mappings accept.
LEAST_CONCURRENCY = 2
QUOTA = "https://console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384"


def configured(env):
    """An environment's section of samconfig.toml."""
    sections = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8")).unwrap()
    if env not in sections:
        raise Problem(f"samconfig.toml has no environment {env}")
    return sections[env]


def overrides(section):
    """The parameters that an environment sets."""
    return dict(pair.split("=", 1) for pair in section["global"]["parameters"]["parameter_overrides"])


def values(template, given):
    """All parameters of a template: what is given, else their defaults."""
    return {name: given.get(name, one.get("Default", "")) for name, one in template["Parameters"].items()}


class Plan:
    """What a template may use of the account's concurrent executions."""

    def __init__(self, template, parameters):
        self.consumers, self.jobs, self.reserved = {}, 0, 0
        for resource in template["Resources"].values():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            properties = resource["Properties"]
            # `!If [Condition, !Ref Parameter, !Ref AWS::NoValue]`, where 0 is for none.
            reservation = properties.get("ReservedConcurrentExecutions", {}).get("Fn::If")
            reserved = int(parameters[reservation[1]["Ref"]]) if reservation else 0
            self.reserved += reserved
            for event in properties["Events"].values():
                if event["Type"] == "SQS":
                    limit = event["Properties"]["ScalingConfig"]["MaximumConcurrency"]
                    self.consumers[limit["Ref"]] = int(parameters[limit["Ref"]])
                elif event["Type"] in ("Schedule", "ScheduleV2") and not reserved:
                    self.jobs += 1

    def wanted(self):
        """The executions that queues and schedules may use at once."""
        return sum(self.consumers.values()) + self.jobs

    def problems(self, limit, unreserved):
        """What does not fit into an account with this limit, of which so much is not reserved by other functions."""
        left = unreserved - self.reserved
        if self.reserved and left < LEAST_UNRESERVED:
            yield (
                f"reservations of {self.reserved} leave {left} of the account's {limit} executions unreserved, and Lambda "
                f"refuses less than {LEAST_UNRESERVED}: set the parameters …ReservedConcurrency to 0, or raise the quota {QUOTA}"
            )
        room = int(left * (1 - LEFT_FOR_REQUESTS))
        if self.wanted() <= room:
            return
        for_consumers = room - self.jobs
        text = (
            f"queues and schedules may use {self.wanted()} concurrent executions, and the account has room for {room}: "
            f"{left} of {limit} are unreserved, a fifth of which is left for requests"
        )
        if for_consumers < LEAST_CONCURRENCY * len(self.consumers):
            yield f"{text}; that is too few for any setting, so raise the quota {QUOTA}"
            return
        # What is above the least is divided in proportion, so that the sum fits.
        spare = for_consumers - LEAST_CONCURRENCY * len(self.consumers)
        above = sum(self.consumers.values()) - LEAST_CONCURRENCY * len(self.consumers)
        fitting = {
            name: LEAST_CONCURRENCY + (number - LEAST_CONCURRENCY) * spare // above
            for name, number in self.consumers.items()
        }
        settings = " ".join(f"{name}={number}" for name, number in fitting.items())
        yield f"{text}; raise the quota {QUOTA}, or set in samconfig.toml: {settings}"


def account_problems(env, section):
    """Whether the credentials are of the account that samconfig.toml names."""
    expected = section.get("preflight", {}).get("parameters", {}).get("account", "")
    actual = boto3.client("sts").get_caller_identity()["Account"]
    if expected and expected != actual:
        # Never only printed: this is the mistake that deploys into another company's account.
        raise Problem(f"the credentials are of account {actual}, and {env} is in {expected} (samconfig.toml)")
    if env == "prod" and not expected:
        yield f"samconfig.toml names no account under [{env}.preflight.parameters]; if {actual} is right, name it"


def account_limits():
    """The account's concurrent executions in this region: all, and those that no function has reserved."""
    return boto3.client("lambda").get_account_settings()["AccountLimit"]


def _concurrency_problems(template, parameters, stack):
    client, limits = boto3.client("lambda"), account_limits()
    limit, unreserved = limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]
    plan = Plan(template, parameters)
    yield from plan.problems(limit, unreserved + _reserved_by(client, stack))
    say(
        f"concurrency: {plan.wanted()} for {len(plan.consumers)} queues and {plan.jobs} schedules, {plan.reserved} "
        f"reserved; the account has {limit}, {unreserved} of them unreserved"
    )


def _reserved_by(client, stack):
    """What the stack's own functions have reserved until now, which a deployment replaces."""
    cloudformation = boto3.client("cloudformation")
    try:
        pages = list(cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack))
    except cloudformation.exceptions.ClientError:
        return 0
    resources = [one for page in pages for one in page["StackResourceSummaries"]]
    functions = [one["PhysicalResourceId"] for one in resources if one["ResourceType"] == "AWS::Lambda::Function"]
    reserved = (client.get_function_concurrency(FunctionName=name) for name in functions)
    return sum(one.get("ReservedConcurrentExecutions", 0) for one in reserved)


def _setting_problems(parameters):
    domain, url = parameters.get("DomainName"), parameters.get("PublicUrl")
    if domain and not url:
        yield f"DomainName is set and PublicUrl is not: set PublicUrl=https://{domain}, or the API names a closed address"
    if domain and parameters.get("RequireFront") == "true":
        yield (
            f"RequireFront is set with DomainName={domain}, where every request lacks the front's secret: {domain} must lead to "
            "edge.yaml, so give it to that stack alone (docs/deploying.md, CloudFront and a firewall)"
        )


def check(env, force=False, stack=None, given=None):
    """Check an environment before its deployment."""
    section = configured(env)
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    parameters = values(template, given if given is not None else overrides(section))
    stack = stack or section["global"]["parameters"]["stack_name"]
    problems = [
        *account_problems(env, section),
        *_concurrency_problems(template, parameters, stack),
        *_setting_problems(parameters),
    ]
    settle(env, problems, force)


def settle(env, problems, force=False):
    """End a deployment of prod if there are problems; elsewhere, and if forced, print them."""
    problems = list(problems)
    if problems and env == "prod" and not force:
        raise Problem("\n       ".join([*problems, "FORCE=1 deploys all the same"]))
    for problem in problems:
        say(f"warning: {problem}")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", required=True)
    parser.add_argument("--stack-name")
    parser.add_argument("--force", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: check(arguments.env, arguments.force, arguments.stack_name))
