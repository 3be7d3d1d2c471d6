// Stripe's and Brevo's own SDKs. Stripe's sends an idempotency key only where it may repeat. The first line of standard
// input is {"vendor", "host", "port", "key"}; each other line is a call: {"call": "customers.create", "args": […]}, or
// {"thin": …}, a thin event that is read and fetched as Stripe's SDK does it. The response is {"ok"}, or {"error"} with
// the SDK's words.
import { BrevoClient } from "@getbrevo/brevo";
import { createInterface } from "node:readline";
import Stripe from "stripe";

let client;

function connect({ vendor, host, port, key }) {
  if (vendor === "brevo") return new BrevoClient({ apiKey: key, baseUrl: `http://${host}:${port}`, maxRetries: 0 });
  return new Stripe(key, { host, port, protocol: "http", maxNetworkRetries: 1, telemetry: false });
}

async function order(line) {
  if (!client) {
    client = connect(line);
    return { ok: true };
  }
  try {
    if (line.thin) {
      const event = client.parseEventNotificationWithoutVerification(JSON.stringify(line.thin));
      await (line.call === "events.fetch" ? event.fetchEvent() : event.fetchRelatedObject());
    } else {
      const [resource, method] = line.call.split(".");
      await client[resource][method](...line.args);
    }
    return { ok: true };
  } catch (error) {
    return { error: `${error}` };
  }
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await order(JSON.parse(line)))}\n`);
