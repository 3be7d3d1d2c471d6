// Requests with a token instead of a signature, as the providers' documentation says.
import { randomUUID } from "node:crypto";

import { basic, form, iso, json, one, random, seconds, withHeaders } from "./kit.mjs";

export const TOKENS = {
  aircall({ now }) {
    const secret = random();
    const data = { id: Math.floor(Math.random() * 1e9), direction: "inbound", user: { name: "Zoë 🎉" } };
    const event = { resource: "call", event: "call.created", timestamp: Number(seconds(now)), token: secret, data };
    return one("call", secret, json(event));
  },

  auth0({ now }) {
    const secret = random();
    const log = (type) => {
      const log_id = `90020${random(20)}`;
      return { log_id, data: { date: iso(now), type, log_id, client_id: random(), user_name: "zoë@example.com" } };
    };
    return one("logs", secret, json([log("s"), log("fp")], { authorization: secret }));
  },

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

  okta({ now }) {
    const secret = random();
    const event = (eventType) => ({
      uuid: randomUUID(), published: iso(now), eventType, version: "0", actor: { displayName: "Zoë 🎉" },
    });
    const hook = {
      eventType: "com.okta.event_hook",
      eventTypeVersion: "1.0",
      cloudEventsVersion: "0.1",
      source: "https://example.okta.com/api/v1/eventHooks/who1",
      eventId: randomUUID(),
      eventTime: iso(now),
      contentType: "application/json",
      data: { events: [event("user.session.start"), event("group.user_membership.add")] },
    };
    return one("events", secret, json(hook, { authorization: secret }));
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

  telegram({ now }) {
    // All letters that Telegram allows besides letters and digits.
    const secret = `${random()}_-`;
    const chat = { id: 1111111, type: "private", first_name: "Zoë" };
    const message = { message_id: 1365, date: Number(seconds(now)), chat, text: "Grüße 🎉" };
    const update = { update_id: Math.floor(Math.random() * 1e9), message };
    return one("message", secret, json(update, { "x-telegram-bot-api-secret-token": secret }));
  },

  // As the setup of the preset says that the Zap must send it.
  zapier() {
    const secret = random();
    const authorization = `Bearer ${secret}`;
    const lead = { email: "zoë@example.com", note: "Grüße 🎉" };
    return [
      ...one("typed", secret, json({ id: random(), type: "lead.added", ...lead }, { authorization })),
      ...one("untyped", secret, json({ ...lead, row: random() }, { authorization })),
    ];
  },
};
