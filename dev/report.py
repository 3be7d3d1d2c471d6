"""The report that `make run` prints: what happened, addresses and keys, and commands to try next."""

import json
import textwrap

SHOWN_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

REPORT = """
1. Accepted. POST /v1/events returned 202:
{event}

2. Delivered. The receiver at {receiver_url} received:
{request}
   signature verified (by the standardwebhooks library)

3. Recorded. GET /v1/deliveries/{delivery_id}:
{delivery}

Addresses and keys
   API            {api_url}/v1
   OpenAPI        {api_url}/v1/openapi.json
   receiver       {receiver_url}
   Stripe source  {source_url}
   AWS endpoint   {endpoint_url}  (access key and secret `test`, region {region})
   logs           {log_dir}
   operator key   {operator_key}
   tenant key     {tenant_key}  (tenant {tenant})
   signing key    {signing_key}  (endpoint {endpoint})

Publish another event
   curl -sS {api_url}/v1/events \\
     -H 'Authorization: Bearer {tenant_key}' \\
     -H 'Content-Type: application/json' -H 'Idempotency-Key: my-first-event' \\
     --data '{{"type":"contact.updated","data":{{"id":"con_42"}}}}'

Send a Stripe webhook (signed with openssl)
   BODY='{{"id":"evt_1","object":"event","type":"invoice.paid","created":1700000000,"livemode":false,"data":{{"object":{{"id":"in_1"}}}}}}'
   T=$(date +%s); V1=$(printf '%s.%s' "$T" "$BODY" | openssl dgst -sha256 -hmac '{stripe_secret}' | sed 's/.* //')
   curl -sS {source_url} -H 'Content-Type: application/json' -H "Stripe-Signature: t=$T,v1=$V1" --data "$BODY"
"""


def report(state, deployed, receiver_url, seeded, event, received, delivery):
    """The report as text."""
    headers = [f"{name}: {received['headers'].get(name)}" for name in SHOWN_HEADERS]
    request = [f"POST {received['path']}", *headers, "", received["body"]]
    return REPORT.format(
        event=_block(json.dumps(event, indent=2)),
        receiver_url=receiver_url,
        request=_block("\n".join(request)),
        delivery_id=delivery["id"],
        delivery=_block(json.dumps(delivery, indent=2)),
        api_url=deployed["api_url"],
        source_url=seeded["source"]["url"],
        endpoint_url=state["endpoint_url"],
        region=state["region"],
        log_dir=state["log_dir"],
        operator_key=deployed["operator_key"],
        tenant_key=seeded["key"]["key"],
        tenant=seeded["tenant"]["id"],
        signing_key=seeded["endpoint"]["secret"],
        endpoint=seeded["endpoint"]["id"],
        stripe_secret=seeded["stripe_secret"],
    )


def _block(text):
    return textwrap.indent(text, "     ")
