"""Verifies webhooks with the library of Standard Webhooks.

Reads {headers, body, secret} from standard input; writes {"payload"} or {"error"}.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
try:
    print(json.dumps({"payload": Webhook(given["secret"]).verify(given["body"], given["headers"])}))
except WebhookVerificationError as error:
    print(json.dumps({"error": str(error) or "refused"}))
