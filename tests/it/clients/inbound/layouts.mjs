// Requests of providers that publish no library for webhooks, or a very large one, signed by node:crypto as their
// documentation says.
import { generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";

import { ed25519, escaped, form, hmac, iso, json, one, random, seconds, withHeaders } from "./kit.mjs";

/** The body's HMAC in a header, after a prefix. */
function bodySigned(name, value, { header, hash = "sha256", encoding = "hex", prefix = "", secret = random() }) {
  const request = json(value);
  const signature = prefix + hmac(hash, secret, request.body, encoding);
  return one(name, secret, withHeaders(request, { [header]: signature }));
}

const of_body = {
  asana({ now }) {
    const resource = { gid: random(5), resource_type: "task", name: "Zoë 🎉" };
    const events = [{ action: "added", created_at: iso(now), resource, parent: null }];
    return bodySigned("events", { events }, { header: "x-hook-signature" });
  },

  attio() {
    const id = { workspace_id: randomUUID(), object_id: randomUUID(), record_id: randomUUID() };
    const actor = { type: "workspace-member", id: randomUUID() };
    const events = [{ event_type: "record.created", id, actor, note: "Zoë 🎉" }];
    const [made] = bodySigned("record", { webhook_id: randomUUID(), events }, { header: "attio-signature" });
    // The same signature under the older name too.
    const older = { "x-attio-signature": made.headers["attio-signature"], "idempotency-key": random() };
    return [withHeaders(made, older)];
  },

  bitbucket({ now }) {
    const author = { display_name: "Zoë 🎉", type: "user" };
    const pullrequest = { id: 1, title: "Grüße", created_on: iso(now), author };
    const event = { pullrequest, repository: { full_name: "team/app" } };
    const [made] = bodySigned("pullrequest", event, { header: "x-hub-signature", prefix: "sha256=" });
    const headers = {
      "x-event-key": "pullrequest:created",
      "x-request-uuid": randomUUID(),
      "x-hook-uuid": randomUUID(),
      "x-attempt-number": "1",
    };
    return [withHeaders(made, headers)];
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

  gocardless({ now }) {
    const event = (resource_type, action, cause) => ({
      id: `EV${random(6)}`,
      created_at: iso(now),
      resource_type,
      action,
      links: { [resource_type.slice(0, -1)]: `ID${random(6)}` },
      details: { origin: "gocardless", cause, description: "Grüße 🎉" },
    });
    const events = [
      event("payments", "confirmed", "payment_confirmed"), event("mandates", "created", "mandate_created"),
    ];
    const value = { events, meta: { webhook_id: `WB${random(6)}` } };
    return bodySigned("events", value, { header: "webhook-signature" });
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

  jira({ now }) {
    const issue = { id: "10002", key: "CRM-1", fields: { summary: "Zoë 🎉" } };
    const event = { timestamp: now, webhookEvent: "jira:issue_updated", issue_event_type_name: "issue_generic", issue };
    const [made] = bodySigned("issue", event, { header: "x-hub-signature", prefix: "sha256=" });
    return [withHeaders(made, { "x-atlassian-webhook-identifier": randomUUID(), "x-atlassian-webhook-retry": "1" })];
  },

  jobber({ now }) {
    const occurredAt = iso(now).replace(/\.\d+Z$/, "+00:00");
    const event = { topic: "CLIENT_CREATE", appId: randomUUID(), accountId: "MQ==", itemId: "MjM=", occurredAt };
    const options = { header: "x-jobber-hmac-sha256", encoding: "base64" };
    return bodySigned("client", { data: { webHookEvent: event } }, options);
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
    request.body = escaped(request.body, /[\u0080-\uffff@]/g);
    const signature = `sha256=${hmac("sha256", secret, request.body, "hex")}`;
    return one("lead", secret, withHeaders(request, { "x-hub-signature-256": signature }));
  },

  pandadoc({ now }) {
    const secret = random();
    const data = { id: random(), status: "document.completed", date_modified: iso(now), name: "Zoë 🎉" };
    const request = json([{ event: "document_state_changed", data }]);
    return one("document", secret, { ...request, query: `signature=${hmac("sha256", secret, request.body, "hex")}` });
  },

  trello({ url, now }) {
    const secret = random(32);
    const card = { id: random(12), name: "Zoë 🎉", idShort: 1 };
    const action = { id: random(12), type: "createCard", date: iso(now), data: { card } };
    const request = json({ model: { id: random(12), name: "Board" }, action });
    // The URL that was entered is signed too, behind the body.
    const signature = hmac("sha1", secret, request.body + url, "base64");
    return one("card", secret, withHeaders(request, { "x-trello-webhook": signature }));
  },

  typeform({ now }) {
    const form_response = { submitted_at: iso(now), token: random(), text: "Zoë 🎉" };
    const event = { event_id: random(), event_type: "form_response", form_response };
    return bodySigned("response", event, { header: "typeform-signature", encoding: "base64", prefix: "sha256=" });
  },

  woocommerce({ now }) {
    const secret = random();
    const billing = { first_name: "Zoë 🎉", email: "zoë@example.com", company: "A/S" };
    const order = { id: 727, status: "processing", date_modified_gmt: iso(now).slice(0, 19), total: "29.35", billing };
    const request = json(order);
    request.body = escaped(request.body);
    const headers = {
      "x-wc-webhook-source": "https://shop.example.com/",
      "x-wc-webhook-topic": "order.updated",
      "x-wc-webhook-resource": "order",
      "x-wc-webhook-event": "updated",
      "x-wc-webhook-signature": hmac("sha256", secret, request.body, "base64"),
      "x-wc-webhook-id": "3",
      "x-wc-webhook-delivery-id": random(),
    };
    return one("order", secret, withHeaders(request, headers));
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

  customer_io({ now }) {
    const secret = random(32);
    const data = { customer_id: "42", delivery_id: random(), recipient: "zoë@example.com", subject: "Grüße 🎉" };
    const timestamp = Number(seconds(now));
    const request = json({ event_id: random(13), object_type: "email", metric: "delivered", timestamp, data });
    const signature = hmac("sha256", secret, `v0:${timestamp}:${request.body}`, "hex");
    return one("email", secret, withHeaders(request, {
      "x-cio-timestamp": String(timestamp), "x-cio-signature": signature,
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

  front({ now }) {
    const secret = random();
    const payload = { id: `evt_${random(4)}`, emitted_at: now / 1000, conversation: { subject: "Grüße 🎉" } };
    const request = json({ type: "inbound_received", authorization: { id: `cmp_${random(4)}` }, payload });
    const signature = hmac("sha256", secret, `${now}:${request.body}`, "base64");
    return one("inbound", secret, withHeaders(request, {
      "x-front-request-timestamp": String(now), "x-front-signature": signature,
    }));
  },

  klaviyo({ now }) {
    const secret = random();
    // The time is signed behind the body, as it is written in the header.
    const timestamp = new Date(now).toUTCString();
    const topics = ["event:klaviyo.opened_email", "event:klaviyo.clicked_email"];
    const data = topics.map((topic) => {
      const external_id = random(6);
      const attributes = { timestamp: Number(seconds(now)), event_properties: { Subject: "Grüße 🎉" } };
      return { external_id, topic, payload: { data: { type: "event", id: external_id, attributes } } };
    });
    const meta = { klaviyo_account_id: "A1", klaviyo_webhook_id: random(), timestamp: iso(now) };
    const request = json({ data, meta });
    return one("events", secret, withHeaders(request, {
      "klaviyo-webhook-id": meta.klaviyo_webhook_id,
      "klaviyo-timestamp": timestamp,
      "klaviyo-signature": hmac("sha256", secret, request.body + timestamp, "hex"),
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

  telnyx({ now }) {
    const key = ed25519();
    const payload = { id: randomUUID(), text: "Grüße 🎉", from: { phone_number: "+13125550100" } };
    const occurred_at = iso(now).replace("Z", "+00:00");
    const data = { event_type: "message.received", id: randomUUID(), occurred_at, record_type: "event", payload };
    const request = json({ data, meta: { attempt: 1, delivered_to: "https://hooks.example.com" } });
    return one("message", key.bytes.toString("base64"), withHeaders(request, {
      "telnyx-timestamp": seconds(now),
      "telnyx-signature-ed25519": key.sign(`${seconds(now)}|${request.body}`).toString("base64"),
    }));
  },

  workos({ now }) {
    const secret = random(24);
    const data = { object: "directory_user", id: `directory_user_${random()}`, first_name: "Zoë 🎉" };
    const request = json({ id: `event_${random()}`, event: "dsync.user.created", created_at: iso(now), data });
    // Milliseconds, and a space between the two.
    const signature = hmac("sha256", secret, `${now}.${request.body}`, "hex");
    return one("user", secret, withHeaders(request, { "workos-signature": `t=${now}, v1=${signature}` }));
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
  adyen({ now }) {
    const secret = random(32).toUpperCase();
    const item = (fields) => {
      const { amount, ...texts } = fields;
      // An absent field is an empty one, and a colon in a field is not escaped.
      const signed = [
        texts.pspReference, texts.originalReference, texts.merchantAccountCode, texts.merchantReference,
        amount.value, amount.currency, texts.eventCode, texts.success,
      ];
      const hmacSignature = hmac("sha256", Buffer.from(secret, "hex"), signed.join(":"), "base64");
      const eventDate = iso(now).replace(/\.\d+Z$/, "+00:00");
      const NotificationRequestItem = { additionalData: { hmacSignature }, ...fields, eventDate, reason: "Grüße" };
      return json({ live: "false", notificationItems: [{ NotificationRequestItem }] });
    };
    const authorisation = {
      amount: { value: 1130, currency: "EUR" },
      eventCode: "AUTHORISATION",
      merchantAccountCode: "TestMerchant",
      merchantReference: "Grüße 🎉 09:53:00",
      pspReference: random(8).toUpperCase(),
      success: "true",
    };
    const refund = {
      ...authorisation,
      eventCode: "REFUND",
      originalReference: authorisation.pspReference,
      pspReference: random(8).toUpperCase(),
      success: "false",
    };
    return [...one("authorisation", secret, item(authorisation)), ...one("refund", secret, item(refund))];
  },

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

export const LAYOUTS = { ...of_body, ...of_time_and_body, ...of_fields };
