"""The alarms of a deployed stack as JSON, as DescribeAlarms has them: what each watches, when it goes off, whom it tells.

alarms.py --stack-name NAME

The local stand-in has no alarms over several metrics, so those that are not deployed are read from the template, with
the names of the stack's own resources in them. Runs in SAM's environment, which has the SDK and reads CloudFormation's
YAML.
"""

import argparse
import json
import re
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"


class Names:
    """What a stack's references mean."""

    def __init__(self, stack):
        cloudformation = boto3.client("cloudformation")
        deployed = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        self.known = {
            "AWS::StackName": stack,
            **{one["ParameterKey"]: one["ParameterValue"] for one in deployed.get("Parameters", [])},
            **{one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources},
        }

    def resolve(self, value):
        """The value with its references replaced; one that is not known stays a reference."""
        match value:
            case {"Ref": name}:
                return self.known.get(name, value)
            case {"Fn::GetAtt": [name, "QueueName"]} if name in self.known:
                return self.known[name].rsplit("/", 1)[-1]
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{([\w:]+)\}", lambda one: self.known.get(one[1], one[0]), text)
            case dict():
                return {key: self.resolve(inner) for key, inner in value.items()}
            case list():
                return [self.resolve(inner) for inner in value]
        return value


def alarms(stack):
    """All alarms of the template, as they are deployed where they are."""
    names = Names(stack)
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack}-")
    deployed = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}
    for resource in yaml_parse(TEMPLATE.read_text(encoding="utf-8"))["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            written = names.resolve(resource["Properties"])
            yield deployed.get(written["AlarmName"], written)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack-name", required=True)
    print(json.dumps(list(alarms(parser.parse_args().stack_name)), default=str))


if __name__ == "__main__":
    main()
