"""The alarms of a deployed stack as JSON in the form of DescribeAlarms: metric, threshold and actions of each.

alarms.py --stack-name NAME

The local stand-in does not support alarms over several metrics. Those are read from the template instead, with the
names of the stack's own resources. Runs in SAM's environment, which has the SDK and reads CloudFormation's YAML.
"""

import argparse
import json
import re
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"


class Names:
    """Parameters and physical names of a stack, to resolve references."""

    def __init__(self, stack):
        cloudformation = boto3.client("cloudformation")
        deployed = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        self.values = {
            "AWS::StackName": stack,
            **{one["ParameterKey"]: one["ParameterValue"] for one in deployed.get("Parameters", [])},
            **{one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources},
        }

    def resolve(self, value):
        """The value with its references replaced. An unknown reference stays as it is."""
        match value:
            case {"Ref": name}:
                return self.values.get(name, value)
            case {"Fn::GetAtt": [name, "QueueName"]} if name in self.values:
                return self.values[name].rsplit("/", 1)[-1]
            case {"Fn::Sub": str(text)}:
                return re.sub(r"\$\{([\w:]+)\}", lambda one: self.values.get(one[1], one[0]), text)
            case dict():
                return {key: self.resolve(inner) for key, inner in value.items()}
            case list():
                return [self.resolve(inner) for inner in value]
        return value


def alarms(stack):
    """All alarms of the template, as deployed where they are deployed."""
    names = Names(stack)
    pages = boto3.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack}-")
    deployed = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}
    for resource in yaml_parse(TEMPLATE.read_text(encoding="utf-8"))["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = names.resolve(resource["Properties"])
            yield deployed.get(alarm["AlarmName"], alarm)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack-name", required=True)
    print(json.dumps(list(alarms(parser.parse_args().stack_name)), default=str))


if __name__ == "__main__":
    main()
