"""Compares the grants of template.yaml, one per line, with dev/grants.txt.

grants.py           fail and show the difference (`make lint`)
grants.py --write   accept the template's grants: write dev/grants.txt

A policy that is moved, split or shared changes no line, and a grant that is added or removed changes exactly one, so a
reviewer sees each in the diff. Runs in SAM's environment, which reads CloudFormation's YAML.
"""

import argparse
import difflib

from samcli.yamlhelper import yaml_parse

from base import DEV, ROOT, Problem, main, say

SNAPSHOT = DEV / "grants.txt"
HEAD = "# Who may do what by template.yaml. Written by dev/grants.py --write, checked by `make lint`.\n"

# A kind of resource policy: the property that names what it is attached to.
ATTACHED_TO = {"AWS::S3::BucketPolicy": "Bucket", "AWS::SQS::QueuePolicy": "Queues", "AWS::SNS::TopicPolicy": "Topics"}

# Keys of a statement that the lines show. Any other key fails, so that no grant is hidden.
SHOWN = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


def grants(resources):
    """A line for each function's role, and for each grant of a role or a resource policy."""
    of_functions = {
        resource["Properties"]["Role"]["Fn::GetAtt"][0]
        for resource in resources.values()
        if resource["Type"] == "AWS::Serverless::Function" and "Role" in resource["Properties"]
    }
    for name, resource in resources.items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        when = f" when {resource['Condition']}" if "Condition" in resource else ""
        if kind == "AWS::Serverless::Function":
            yield f"{name} runs as {_role(name, properties)}"
        elif kind == "AWS::IAM::Role":
            yield from _lines(name, properties["AssumeRolePolicyDocument"], when)
            for policy in _of_aws(properties):
                if name in of_functions:
                    raise Problem(f"{name}: a function has no policy of AWS, which grants more than the template shows")
                yield f"{name} attaches {policy}{when}"
            for document, only in _documents(name, properties, resources):
                yield from _lines(name, document, f"{when}{only}")
        elif kind == "AWS::IAM::Policy":
            for role in properties["Roles"]:
                yield from _lines(_text(role), properties["PolicyDocument"], when)
        elif kind == "AWS::KMS::Key":
            yield from _lines(name, properties["KeyPolicy"], when)
        elif kind in ATTACHED_TO:
            own = kind == "AWS::SQS::QueuePolicy"
            for target in _list(properties[ATTACHED_TO[kind]]):
                yield from _lines(_text(target), properties["PolicyDocument"], when, own)
        elif kind != "AWS::IAM::ManagedPolicy" and any(word in kind for word in ("IAM", "Polic", "Permission")):
            raise Problem(f"{name}: dev/grants.py does not know {kind}")


def _role(name, properties):
    """The role of a function; SAM must not make one, because it would grant more than the template shows."""
    if "Policies" in properties or "Role" not in properties:
        raise Problem(f"{name} needs a `Role` of the template and no `Policies`")
    return properties["Role"]["Fn::GetAtt"][0]


def _of_aws(properties):
    """The policies of AWS that are attached to a role, for its own services."""
    attached = map(_optional, properties.get("ManagedPolicyArns", []))
    return [policy for _, policy in attached if policy.startswith("arn:${AWS::Partition}:iam::aws:policy/")]


def _documents(name, properties, resources):
    """A role's own policies and the managed ones that are attached to it, each with the option that it depends on."""
    yield from ((policy["PolicyDocument"], "") for policy in properties.get("Policies", []))
    attached = properties.get("ManagedPolicyArns", [])
    if len(attached) > 10:
        raise Problem(f"{name}: IAM attaches at most 10 managed policies to a role")
    for policy in attached:
        option, policy = _optional(policy)
        if policy in _of_aws(properties):
            continue
        shared = resources.get(policy, {})
        if shared.get("Type") != "AWS::IAM::ManagedPolicy" or shared.get("Condition") != option:
            raise Problem(f"{name}: {policy} is not a managed policy of the template with the condition {option}")
        if set(shared["Properties"]) & {"Roles", "Users", "Groups"}:
            raise Problem(f"{policy}: attach it in the roles' `ManagedPolicyArns`, where a reader looks")
        yield shared["Properties"]["PolicyDocument"], f" when {option}" if option else ""


def _optional(policy):
    """The condition on which a policy is attached, if there is one, and its name."""
    match policy:
        case {"Fn::If": [str(condition), one, {"Ref": "AWS::NoValue"}]}:
            return condition, _text(one)
    return None, _text(policy)


def _lines(subject, document, when, own=False):
    """A document's grants. With `own`, a policy reaches only what it is attached to, as for SQS."""
    for statement in document["Statement"]:
        if unknown := set(statement) - SHOWN:
            raise Problem(f"{subject}: dev/grants.py does not know {', '.join(sorted(unknown))} in a statement")
        effect = {"Allow": "allows", "Deny": "denies"}[statement["Effect"]]
        principals = [f" to {one}" for one in _principals(statement["Principal"])] if "Principal" in statement else [""]
        condition = f" if {_condition(statement['Condition'])}" if "Condition" in statement else ""
        for action in _list(statement["Action"]):
            for resource in map(_text, _list(statement.get("Resource", "itself"))):
                if own and resource not in ("*", f"{subject}.Arn"):
                    raise Problem(f"{subject}: its policy names {resource}, which it cannot reach")
                place = f"{subject}.Arn" if own else resource
                for principal in principals:
                    yield f"{subject} {effect} {action} on {place}{principal}{condition}{when}"


def _principals(principal):
    if isinstance(principal, str):
        return [principal]
    return [f"{kind} {_text(one)}" for kind, ones in principal.items() for one in _list(ones)]


def _condition(condition):
    return " and ".join(
        f"{operator} {key} {'|'.join(map(_text, _list(values)))}"
        for operator, keys in sorted(condition.items())
        for key, values in sorted(keys.items())
    )


def _list(value):
    return value if isinstance(value, list) else [value]


def _text(value):
    """A name or ARN as text, with references by their name in the template."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::Sub": str(text)}:
            return text
    raise Problem(f"dev/grants.py does not know {value}")


def run(options):
    """Compare with the snapshot, or write it."""
    resources = yaml_parse(options.template.read_text(encoding="utf-8"))["Resources"]
    lines = sorted(set(grants(resources)))
    text = HEAD + "".join(f"{line}\n" for line in lines)
    if options.write:
        SNAPSHOT.write_text(text, encoding="utf-8")
        return
    expected, actual = SNAPSHOT.read_text(encoding="utf-8").splitlines(), text.splitlines()
    difference = difflib.unified_diff(expected, actual, "dev/grants.txt", "template.yaml", n=0, lineterm="")
    if shown := "\n".join(line for line in difference if not line.startswith("@@")):
        raise Problem(f"the template's grants have changed; to accept this: dev/grants.py --write\n{shown}")
    say(f"{len(lines)} grants, as in dev/grants.txt")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--template", type=type(ROOT), default=ROOT / "template.yaml")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: run(arguments))
