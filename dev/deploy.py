"""Deploys the real template to the local stack, then the routes that the stand-in does not create.

The first deployment of a run is made by the real `sam deploy`. The copies that tests add are made by CloudFormation's own
API from the same text, because each start of the SAM CLI takes seconds of CPU and uploads the functions again.
"""

import json
import re
import subprocess
import time
from pathlib import Path

from aws import Aws
from base import LOCAL, REGION, Problem, aws_env
from package import architecture, declared, localise

BUCKET = "local-packages"
MAPPINGS = "/2015-03-31/event-source-mappings/"
SAM = LOCAL / "sam" / "bin" / "sam"
# Of CloudFormation's API.
VERSION = "2010-05-15"
# The stand-in takes the API's id from this tag, so its URL is known before the API exists.
API_ID_TAG = "ms-custom-id"
CREATE_SECONDS = 120


def deploy(endpoint_url, run_dir, name, template, bin_dir, given=None, by_sam=True):
    """Deploy a template under a stack name; returns the stack's URL, key, outputs and functions."""
    aws = Aws(endpoint_url)
    api_url = f"{endpoint_url}/_aws/execute-api/{name}"
    text = template.read_text()
    local = {
        "Architecture": architecture(),
        "RequireTls": "false",
        "ApiKeyMode": "test",
        "TenantRequestsPerSecond": "1000",
        "EgressAllow": "127.0.0.1/32",
        "LaneVisibilitySeconds": "35",
        "DispatcherConcurrency": "8",
        "SlowLaneConcurrency": "4",
        "ApiRequestsPerSecond": "10000",
        "ApiRequestsBurst": "5000",
        "InboundRequestsPerSecond": "10000",
        "InboundRequestsBurst": "5000",
        "PublicUrl": api_url,
    }
    chosen = declared(text, local) | (given or {})
    local_text = localise(text, bin_dir)
    if by_sam:
        copy = run_dir / f"{name}.template.yaml"
        copy.write_text(local_text)
        aws.rest("s3", "PUT", f"/{BUCKET}")
        _sam_deploy(endpoint_url, run_dir, name, copy, chosen)
    else:
        _create_stack(aws, name, _upload_code(aws, run_dir, local_text), chosen)
    outputs = _outputs(aws, name)
    _create_routes(aws, name, outputs["HttpApiId"])
    for key, function in outputs.items():
        if key.endswith("FunctionName"):
            _repair_mappings(aws, function)
    secret = aws.target(
        "secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": outputs["OperatorKeySecretArn"]}
    )
    return {
        "api_url": f"{endpoint_url}/_aws/execute-api/{outputs['HttpApiId']}",
        "operator_key": json.loads(secret["SecretString"])["key"],
        "outputs": outputs,
        "functions": {
            _kebab(key.removesuffix("FunctionName")): value
            for key, value in outputs.items()
            if key.endswith("FunctionName")
        },
    }


def remove(endpoint_url, name, deployed):
    """Remove what of a deployment works without being called: its schedules, queues' readers and functions."""
    aws = Aws(endpoint_url)
    own = set(_physical_names(aws, name).values())
    for schedule in aws.rest("scheduler", "GET", f"/schedules?NamePrefix={name}-")["Schedules"]:
        # Another deployment's name may begin with this one's.
        if schedule["Name"] in own:
            aws.rest("scheduler", "DELETE", f"/schedules/{schedule['Name']}")
    for function in deployed["functions"].values():
        for mapping in aws.rest("lambda", "GET", f"{MAPPINGS}?FunctionName={function}")["EventSourceMappings"]:
            aws.rest("lambda", "DELETE", MAPPINGS + mapping["UUID"])
        aws.rest("lambda", "DELETE", f"/2015-03-31/functions/{function}")


def _sam_deploy(endpoint_url, run_dir, name, template, chosen):
    command = [
        SAM, "deploy",
        "--template-file", template,
        "--stack-name", name,
        "--region", REGION,
        "--s3-bucket", BUCKET,
        "--s3-prefix", name,
        "--capabilities", "CAPABILITY_IAM",
        "--no-confirm-changeset",
        "--no-fail-on-empty-changeset",
        "--no-progressbar",
        "--tags", f"{API_ID_TAG}={name}",
        "--parameter-overrides", *(f"{key}={value}" for key, value in chosen.items()),
    ]  # fmt: skip
    env = aws_env(endpoint_url, SAM_CLI_TELEMETRY="0", SAM_CLI_POLL_DELAY="0.2")
    process = subprocess.run(
        list(map(str, command)), env=env, cwd=run_dir, capture_output=True, text=True, check=False
    )
    output = process.stdout + process.stderr
    (run_dir / "logs" / f"deploy-{name}.log").write_text(output)
    if process.returncode != 0:
        raise Problem(f"sam deploy of {name} failed:\n" + "\n".join(output.splitlines()[-40:]))


def _upload_code(aws, run_dir, text):
    """Upload the zips that a template names, once in a run; returns the template with their places in the bucket."""

    def place(match):
        path = Path(match[2])
        uploaded = run_dir / f"{path.name}.uploaded"
        if not uploaded.exists():
            aws.put_object(BUCKET, path.name, path.read_bytes())
            uploaded.touch()
        return f"{match[1]}s3://{BUCKET}/{path.name}"

    return re.sub(r"^(\s+CodeUri: )(.+\.zip)$", place, text, flags=re.MULTILINE)


def _create_stack(aws, name, text, chosen):
    """Create a stack as `sam deploy` does, with the transform and the tag, and wait until it is complete."""
    key = f"{name}.template.yaml"
    # A template of more than 51,200 bytes must be in the bucket.
    aws.put_object(BUCKET, key, text.encode())
    members = {
        "Capabilities.member.1": "CAPABILITY_IAM",
        "Capabilities.member.2": "CAPABILITY_AUTO_EXPAND",
        "Tags.member.1.Key": API_ID_TAG,
        "Tags.member.1.Value": name,
    }
    for number, (parameter, value) in enumerate(chosen.items(), 1):
        members[f"Parameters.member.{number}.ParameterKey"] = parameter
        members[f"Parameters.member.{number}.ParameterValue"] = value
    url = f"{aws.endpoint_url}/{BUCKET}/{key}"
    aws.query("cloudformation", VERSION, "CreateStack", StackName=name, TemplateURL=url, **members)
    deadline = time.monotonic() + CREATE_SECONDS
    while (status := _status(aws, name)) == "CREATE_IN_PROGRESS" and time.monotonic() < deadline:
        time.sleep(0.1)
    if status != "CREATE_COMPLETE":
        events = aws.query("cloudformation", VERSION, "DescribeStackEvents", StackName=name)
        reasons = [
            f"{event.findtext('LogicalResourceId')}: {event.findtext('ResourceStatusReason')}"
            for event in events.findall(".//StackEvents/member")
            if event.findtext("ResourceStatus", "").endswith("FAILED")
        ]
        raise Problem(f"{name} could not be created, {status}:\n" + "\n".join(reasons))


def _status(aws, name):
    response = aws.query("cloudformation", VERSION, "DescribeStacks", StackName=name)
    return response.findtext(".//StackStatus")


def _outputs(aws, name):
    response = aws.query("cloudformation", VERSION, "DescribeStacks", StackName=name)
    return {
        output.findtext("OutputKey"): output.findtext("OutputValue")
        for output in response.findall(".//Outputs/member")
    }


def _create_routes(aws, name, api_id):
    """Create the routes of the OpenAPI body that SAM wrote. API Gateway does so; the stand-in does not."""
    response = aws.query(
        "cloudformation", VERSION, "GetTemplate", StackName=name, TemplateStage="Processed"
    )
    processed = json.loads(response.findtext(".//TemplateBody"))
    names = _physical_names(aws, name)
    present = {route["routeKey"] for route in aws.rest("apigateway", "GET", f"/v2/apis/{api_id}/routes")["items"]}
    for resource in processed["Resources"].values():
        if resource["Type"] != "AWS::ApiGatewayV2::Api":
            continue
        for path, methods in resource["Properties"]["Body"]["paths"].items():
            for method, operation in methods.items():
                verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                if f"{verb} {path}" not in present:
                    integration = operation["x-amazon-apigateway-integration"]
                    _create_route(aws, api_id, f"{verb} {path}", integration, names)


def _create_route(aws, api_id, key, integration, names):
    created = aws.rest(
        "apigateway",
        "POST",
        f"/v2/apis/{api_id}/integrations",
        {
            "integrationType": "AWS_PROXY",
            "integrationMethod": "POST",
            "payloadFormatVersion": integration["payloadFormatVersion"],
            "integrationUri": _resolve(integration["uri"]["Fn::Sub"], names),
        },
    )
    aws.rest(
        "apigateway",
        "POST",
        f"/v2/apis/{api_id}/routes",
        {"routeKey": key, "target": f"integrations/{created['integrationId']}"},
    )


def _repair_mappings(aws, function):
    """Set the concurrency as a number: from a parameter the stand-in keeps text, and its poller then fails."""
    for mapping in aws.rest("lambda", "GET", f"{MAPPINGS}?FunctionName={function}")["EventSourceMappings"]:
        limit = int(mapping["ScalingConfig"]["MaximumConcurrency"])
        aws.rest("lambda", "PUT", MAPPINGS + mapping["UUID"], {"ScalingConfig": {"MaximumConcurrency": limit}})


def _physical_names(aws, name):
    response = aws.query("cloudformation", VERSION, "DescribeStackResources", StackName=name)
    return {
        member.findtext("LogicalResourceId"): member.findtext("PhysicalResourceId")
        for member in response.findall(".//StackResources/member")
    }


def _resolve(text, names):
    """Resolve a `Fn::Sub`. SAM writes only pseudo parameters, functions' ARNs and aliases into a route."""
    pseudo = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": "000000000000"}

    def value(match):
        word = match[1]
        if word in pseudo:
            return pseudo[word]
        logical, _, attribute = word.partition(".")
        if not attribute and logical in names:
            # An alias, whose name in the stack is its ARN.
            return names[logical]
        if attribute == "Arn" and logical in names:
            return f"arn:aws:lambda:{REGION}:000000000000:function:{names[logical]}"
        raise Problem(f"dev/deploy.py cannot resolve ${{{word}}} in a route's integration")

    return re.sub(r"\$\{([^}]+)\}", value, text)


def _kebab(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
