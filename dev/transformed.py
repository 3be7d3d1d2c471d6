"""The template as CloudFormation gets it from SAM's transform, as JSON, without an account.

transformed.py [--env ENV] [--param KEY=VALUE ...]

Parameters are those of samconfig.toml's environment, then those given. Conditions remain as they are. Runs in SAM's
environment.
"""

import argparse
import json
import os

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

from base import REGION, ROOT, main
from preflight import configured, overrides, values

# Any: the transform checks the form alone.
CODE = "s3://bucket/key"


class NoManagedPolicies:
    """The functions have roles of the template, so the transform asks for none of AWS's policies."""

    def load(self):
        """Their ARNs by name."""
        return {}


def transformed(env=None, given=()):
    """The transformed template."""
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = CODE
    chosen = values(template, {"Release": "0" * 64} | (overrides(configured(env)) if env else {}) | dict(given))
    return transform(template, chosen, NoManagedPolicies())


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env")
    parser.add_argument("--param", type=lambda text: text.split("=", 1), action="append", default=[], metavar="K=V")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    main(lambda: print(json.dumps(transformed(arguments.env, arguments.param))))
