"""Signs as Slack, and verifies as Square, with the vendors' own Python packages.

Reads a request with its secret from standard input; writes {"library", "is_valid"}, and for Slack {"signature"}.
"""

import json
import sys
from importlib.metadata import version

given = json.load(sys.stdin)
if given["vendor"] == "slack":
    from slack_sdk.signature import SignatureVerifier

    verifier = SignatureVerifier(given["secret"])
    signature = verifier.generate_signature(timestamp=given["timestamp"], body=given["body"])
    is_valid = verifier.is_valid(given["body"], given["timestamp"], signature)
    print(json.dumps({"library": f"slack-sdk {version('slack-sdk')}", "signature": signature, "is_valid": is_valid}))
else:
    from square.utils.webhooks_helper import verify_signature

    is_valid = verify_signature(
        request_body=given["body"],
        signature_header=given["signature"],
        signature_key=given["secret"],
        notification_url=given["url"],
    )
    print(json.dumps({"library": f"squareup {version('squareup')}", "is_valid": is_valid}))
