// Requests of providers that publish no library for webhooks, signed by node:crypto as their documentation says.
import { generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";

import { basic, form, hmac, json, NODE, random, seconds, withHeaders } from "./kit.mjs";

/** One request of a provider. */
function one(name, secret, request) {
  return [{ case: name, signer: NODE, secrets: [secret], ...request }];
}

/** The body's HMAC in a header, after a prefix. */
function bodySigned(name, value, { header, hash = "sha256", encoding = "hex", prefix = "", secret = random() }) {
  const request = json(value);
  const signature = prefix + hmac(hash, secret, request.body, encoding);
  return one(name, secret, withHeaders(request, { [header]: signature }));
}

function iso(now) {
  return new Date(now).toISOString();
}

const token = {
  brevo({ now }) {
    const secret = random();
    const credentials = `hooks:${random()}`;
    const event = { email: "zoë@example.com", "message-id": `<${random()}@example.com>`, ts_epoch: now };
    const body = json([{ ...event, event: "delivered" }]);
    return [
      ...one("bearer", secret, withHeaders(body, { authorization: `Bearer ${secret}` })),
      ...one("basic", credentials, withHeaders(body, { authorization: basic(credentials) })),
      ...one("header", secret, withHeaders(body, { "x-webhook-token": secret })),
    ];
  },

  google_calendar() {
    const secret = random();
    const headers = {
      "x-goog-channel-id": randomUUID(),
      "x-goog-channel-token": secret,
      "x-goog-message-number": "10",
      "x-goog-resource-id": random(),
      "x-goog-resource-state": "exists",
      "x-goog-resource-uri": "https://www.googleapis.com/calendar/v3/calendars/primary/events?alt=json",
    };
    return one("exists", secret, { method: "POST", body: "", headers });
  },

  mailchimp() {
    const secret = random();
    const body = form({
      type: "subscribe", fired_at: "2026-11-23 20:00:00", "data[id]": random(5), "data[email]": "zoë@example.com",
    });
    return [
      ...one("query", secret, { ...body, query: `secret=${secret}` }),
      ...one("path", secret, { ...body, path: secret }),
    ];
  },

  microsoft_graph() {
    const secret = random();
    const value = ["created", "updated"].map((changeType) => ({
      subscriptionId: randomUUID(),
      changeType,
      clientState: secret,
      resource: "me/events",
      resourceData: { id: random(), "@odata.etag": 'W/"1"' },
    }));
    return one("items", secret, json({ value }));
  },

  pipedrive({ now }) {
    const credentials = `hooks:${random()}`;
    const meta = { id: randomUUID(), entity: "deal", action: "change", timestamp: iso(now), attempt: 1 };
    return one("change", credentials, json({ meta, data: {} }, { authorization: basic(credentials) }));
  },

  postmark({ now }) {
    const credentials = `hooks:${random()}`;
    const event = {
      RecordType: "Delivery", MessageID: randomUUID(), Recipient: "zoë@example.com", DeliveredAt: iso(now),
    };
    return one("delivery", credentials, json(event, { authorization: basic(credentials) }));
  },

  reso_entity_event() {
    const secret = random();
    const sequence = Math.floor(Math.random() * 1e9);
    const value = [{ EntityEventSequence: sequence, ResourceName: "Property", ResourceRecordKey: random() }];
    return one("push", secret, json({ value }, { authorization: `Bearer ${secret}`, entityeventsource: "mls" }));
  },
};

const of_body = {
  asana({ now }) {
    const resource = { gid: random(5), resource_type: "task", name: "Zoë 🎉" };
    const events = [{ action: "added", created_at: iso(now), resource, parent: null }];
    return bodySigned("events", { events }, { header: "x-hook-signature" });
  },

  cal_com({ now }) {
    const payload = { uid: random(), title: "Zoë 🎉" };
    const event = { triggerEvent: "BOOKING_CREATED", createdAt: iso(now), payload };
    return bodySigned("booking", event, { header: "x-cal-signature-256" });
  },

  callrail() {
    const event = { resource_id: `CAL${random()}`, event: "post_call", customer_name: "Zoë" };
    return bodySigned("call", event, { header: "signature", hash: "sha1", encoding: "base64" });
  },

  docusign({ now }) {
    // What looks like base64 is used as text. There is one header for each active key.
    const secret = randomBytes(32).toString("base64");
    const event = {
      event: "envelope-completed", generatedDateTime: iso(now), data: { envelopeId: randomUUID(), name: "Zoë 🎉" },
    };
    const request = json(event);
    const headers = {
      "x-docusign-signature-1": hmac("sha256", "another key of the account", request.body, "base64"),
      "x-docusign-signature-2": hmac("sha256", secret, request.body, "base64"),
    };
    return one("envelope", secret, withHeaders(request, headers));
  },

  follow_up_boss({ now }) {
    const secret = random();
    const request = json(
      { eventId: randomUUID(), eventCreated: iso(now), event: "peopleCreated", resourceIds: [1], uri: null },
    );
    const signature = hmac("sha256", secret, Buffer.from(request.body).toString("base64"), "hex");
    return one("people", secret, withHeaders(request, { "fub-signature": signature }));
  },

  highlevel() {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const secret = publicKey.export({ format: "der", type: "spki" }).toString("base64");
    const request = json({ type: "ContactCreate", webhookId: randomUUID(), firstName: "Zoë 🎉" });
    const signature = sign(null, Buffer.from(request.body), privateKey).toString("base64");
    return one("contact", secret, withHeaders(request, { "x-ghl-signature": signature }));
  },

  intercom({ now }) {
    const event = {
      type: "notification_event", id: `notif_${random()}`, topic: "contact.created", created_at: Math.floor(now / 1000),
    };
    return bodySigned("contact", event, { header: "x-hub-signature", hash: "sha1", prefix: "sha1=" });
  },

  linkedin({ now }) {
    const secret = random();
    const request = json({ type: "LEAD_ACTION", notificationId: now, occurredAt: now, leadAction: "CREATED" });
    const signature = hmac("sha256", secret, `hmacsha256=${request.body}`, "hex");
    return one("lead", secret, withHeaders(request, { "x-li-signature": signature }));
  },

  meta({ now }) {
    const secret = random();
    const time = Math.floor(now / 1000);
    const name = "Zoë@example.com/🎉";
    const value = { leadgen_id: random(8), page_id: "1", form_id: "2", created_time: time, name };
    const request = json({ object: "page", entry: [{ id: "1", time, changes: [{ field: "leadgen", value }] }] });
    // Meta escapes what is beyond ASCII, and slashes and at signs too; it signs what it sends.
    const escape = (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
    request.body = request.body.replace(/[\u0080-\uffff@]/g, escape).replaceAll("/", "\\/");
    const signature = `sha256=${hmac("sha256", secret, request.body, "hex")}`;
    return one("lead", secret, withHeaders(request, { "x-hub-signature-256": signature }));
  },

  pandadoc({ now }) {
    const secret = random();
    const data = { id: random(), status: "document.completed", date_modified: iso(now), name: "Zoë 🎉" };
    const request = json([{ event: "document_state_changed", data }]);
    return one("document", secret, { ...request, query: `signature=${hmac("sha256", secret, request.body, "hex")}` });
  },

  typeform({ now }) {
    const form_response = { submitted_at: iso(now), token: random(), text: "Zoë 🎉" };
    const event = { event_id: random(), event_type: "form_response", form_response };
    return bodySigned("response", event, { header: "typeform-signature", encoding: "base64", prefix: "sha256=" });
  },

  xero({ now }) {
    // What looks like base64 is used as text.
    const secret = randomBytes(64).toString("base64");
    const event = { tenantId: randomUUID(), resourceId: randomUUID(), eventCategory: "INVOICE", eventType: "CREATE" };
    const events = [{ ...event, eventDateUtc: iso(now).replace("Z", "") }];
    const value = { events, firstEventSequence: 1, lastEventSequence: 1, entropy: "LUWDSUDGSWNZVALZXBEV" };
    return bodySigned("invoice", value, { header: "x-xero-signature", encoding: "base64", secret });
  },
};

const of_time_and_body = {
  calendly({ now }) {
    const secret = random();
    const payload = { uri: `https://api.calendly.com/scheduled_events/${random()}`, name: "Zoë 🎉" };
    const request = json({ event: "invitee.created", created_at: iso(now), payload });
    const signature = hmac("sha256", secret, `${seconds(now)}.${request.body}`, "hex");
    return one("invitee", secret, withHeaders(request, {
      "calendly-webhook-signature": `t=${seconds(now)},v1=${signature}`,
    }));
  },

  close({ now }) {
    const secret = random();
    const event = {
      id: `ev_${random()}`, object_type: "lead", action: "created", date_created: iso(now), data: { name: "Zoë 🎉" },
    };
    const request = json({ event, subscription_id: `whsub_${random()}` });
    // The key is the bytes that the secret spells.
    const signature = hmac("sha256", Buffer.from(secret, "hex"), seconds(now) + request.body, "hex");
    return one("lead", secret, withHeaders(request, {
      "close-sig-timestamp": seconds(now), "close-sig-hash": signature,
    }));
  },

  dotloop({ now }) {
    const secret = random();
    const request = json({ eventId: randomUUID(), eventType: "LOOP_CREATED", name: "Zoë 🎉" });
    const signature = hmac("sha1", secret, `${seconds(now)}.${request.body}`, "hex");
    return one("loop", secret, withHeaders(request, {
      "x-dotloop-timestamp": seconds(now), "x-dotloop-signature": signature,
    }));
  },

  quo_legacy({ now }) {
    const secret = randomBytes(32).toString("base64");
    const request = json(
      { id: `EV${random()}`, object: "event", createdAt: iso(now), type: "call.completed", data: {} },
    );
    const signature = hmac("sha256", Buffer.from(secret, "base64"), `${now}.${request.body}`, "base64");
    return one("call", secret, withHeaders(request, { "openphone-signature": `hmac;1;${now};${signature}` }));
  },

  zendesk({ now }) {
    const secret = random();
    const timestamp = iso(now).replace(/\.\d+Z$/, "Z");
    const request = json(
      { id: randomUUID(), type: "zen:event-type:ticket.created", time: iso(now), detail: { subject: "Zoë 🎉" } },
    );
    const headers = {
      "x-zendesk-webhook-signature": hmac("sha256", secret, timestamp + request.body, "base64"),
      "x-zendesk-webhook-signature-timestamp": timestamp,
      "x-zendesk-webhook-invocation-id": random(),
    };
    return one("ticket", secret, withHeaders(request, headers));
  },

  zoom({ now }) {
    const secret = random();
    const request = json(
      { event: "meeting.started", event_ts: now, payload: { object: { uuid: `${random()}==`, topic: "Zoë 🎉" } } },
    );
    const signature = hmac("sha256", secret, `v0:${seconds(now)}:${request.body}`, "hex");
    return one("meeting", secret, withHeaders(request, {
      "x-zm-request-timestamp": seconds(now), "x-zm-signature": `v0=${signature}`,
    }));
  },
};

const of_fields = {
  dropbox_sign({ now }) {
    const secret = random(32);
    const [event_time, event_type] = [seconds(now), "signature_request_signed"];
    const event_hash = hmac("sha256", secret, event_time + event_type, "hex");
    const signature_request = { signature_request_id: random(), title: "Zoë 🎉" };
    const document = JSON.stringify({ event: { event_time, event_type, event_hash }, signature_request });
    const boundary = `----${random()}`;
    const part = [`--${boundary}`, 'Content-Disposition: form-data; name="json"', "", document];
    const body = [...part, `--${boundary}--`, ""].join("\r\n");
    const headers = { "content-type": `multipart/form-data; boundary=${boundary}` };
    return one("multipart", secret, { method: "POST", body, headers });
  },

  mailgun({ now }) {
    const secret = random();
    const [timestamp, once] = [seconds(now), random(25)];
    const signature = { timestamp, token: once, signature: hmac("sha256", secret, timestamp + once, "hex") };
    const event = { event: "delivered", timestamp: now / 1000, id: random(), recipient: "zoë@example.com" };
    return one("delivered", secret, json({ signature, "event-data": event }));
  },

  mandrill({ url, now }) {
    const secret = random();
    const events = [{ event: "open", _id: random(), ts: Math.floor(now / 1000), msg: { subject: "Zoë 🎉" } }];
    const fields = { mandrill_events: JSON.stringify(events) };
    const sorted = Object.keys(fields).sort().map((name) => name + fields[name]).join("");
    const headers = { "x-mandrill-signature": hmac("sha1", secret, url + sorted, "base64") };
    return one("events", secret, form(fields, headers));
  },
};

export const LAYOUTS = { ...token, ...of_body, ...of_time_and_body, ...of_fields };
