// Requests that a vendor's library signs; and those that node:crypto signs and a vendor's library accepts.
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { fileURLToPath } from "node:url";

import "@shopify/shopify-api/adapters/node";
import { Signature } from "@hubspot/api-client";
import { LinearWebhookClient } from "@linear/sdk/webhooks";
import { signWebhookPayload, verifyWebhookSignature } from "@notionhq/client";
import { sign as octokitSign, verify as octokitVerify } from "@octokit/webhooks-methods";
import { Paddle } from "@paddle/paddle-node-sdk";
import { EventWebhook } from "@sendgrid/eventwebhook";
import { shopifyApi } from "@shopify/shopify-api";
import { verifyKey } from "discord-interactions";
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from "jose";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";
import twilio from "twilio";
import webhooks from "twilio/lib/webhooks/webhooks.js";

import {
  accepted, ed25519, form, hmac, iso, json, library, NODE, random, seconds, withHeaders,
} from "./kit.mjs";

/** Runs a function of a vendor's Python package. */
function python(input) {
  const here = (path) => fileURLToPath(new URL(path, import.meta.url));
  const interpreter = here("../../../../.local/contract/bin/python");
  const options = { input: JSON.stringify(input), encoding: "utf8" };
  return JSON.parse(execFileSync(interpreter, [here("vendors.py")], options));
}

/** A secret as Standard Webhooks and Svix write it. */
function prefixed() {
  return `whsec_${Buffer.from(random()).toString("base64")}`;
}

async function stripe({ now }) {
  const secret = `whsec_${random()}`;
  const created = Math.floor(now / 1000);
  const object = { id: `in_${random(8)}`, note: "Grüße 🎉" };
  const snapshot = { id: `evt_${random(8)}`, object: "event", type: "invoice.paid", created, data: { object } };
  const thin = {
    id: `evt_test_${random(8)}`,
    object: "v2.core.event",
    type: "v2.core.account.updated",
    created: new Date(now).toISOString(),
    related_object: null,
  };
  // The key is never used: signing needs no call.
  const client = new Stripe("sk_test_of_no_account");
  const one = (name, value) => {
    const request = json(value);
    const header = client.webhooks.generateTestHeaderString({ payload: request.body, secret, timestamp: created });
    const read = name === "thin" ? client.parseEventNotification : client.webhooks.constructEvent.bind(client.webhooks);
    const verifier = accepted(read.call(client, request.body, header, secret).id === value.id, library("stripe"));
    const headers = { "stripe-signature": header };
    return { case: name, signer: library("stripe"), verifier, secrets: [secret], ...withHeaders(request, headers) };
  };
  return [one("snapshot", snapshot), one("thin", thin)];
}

async function github() {
  const secret = random();
  const push = { ref: "refs/heads/main", head_commit: { message: "Grüße 🎉" } };
  const requests = [
    ["json", "issues", json({ action: "opened", issue: { title: "Grüße 🎉" } })],
    ["form", "push", form({ payload: JSON.stringify(push) })],
  ];
  const name = "@octokit/webhooks-methods";
  return Promise.all(
    requests.map(async ([kind, event, request]) => {
      const signature = await octokitSign(secret, request.body);
      const verifier = accepted(await octokitVerify(secret, request.body, signature), library(name));
      const headers = { "x-hub-signature-256": signature, "x-github-event": event, "x-github-delivery": random() };
      return { case: kind, signer: library(name), verifier, secrets: [secret], ...withHeaders(request, headers) };
    }),
  );
}

async function slack({ now }) {
  const secret = random();
  const timestamp = seconds(now);
  const event = { type: "app_mention", text: "Grüße 🎉" };
  const interaction = { type: "block_actions", trigger_id: random() };
  const requests = {
    event: json({ type: "event_callback", event_id: `Ev${random(5)}`, event_time: Number(timestamp), event }),
    interaction: form({ payload: JSON.stringify(interaction) }),
  };
  return Object.entries(requests).map(([name, request]) => {
    const made = python({ vendor: "slack", secret, timestamp, body: request.body });
    const headers = { "x-slack-request-timestamp": timestamp, "x-slack-signature": made.signature };
    const verifier = accepted(made.is_valid, made.library);
    return { case: name, signer: made.library, verifier, secrets: [secret], ...withHeaders(request, headers) };
  });
}

async function twilioRequests({ url }) {
  const secret = random();
  // The query is signed as it was sent: neither sorted nor decoded.
  const query = "b=2&a=1%20%C3%BC";
  const fields = {
    MessageSid: `SM${random()}`,
    MessageStatus: "delivered",
    From: "+14158675309",
    Body: "Grüße & 🎉",
    Empty: "",
  };
  const posted = form(fields);
  const signature = webhooks.getExpectedTwilioSignature(secret, `${url}?${query}`, fields);
  const of_form = {
    case: "form",
    signer: library("twilio"),
    verifier: accepted(twilio.validateRequest(secret, signature, `${url}?${query}`, fields), library("twilio")),
    query,
    secrets: [secret],
    ...withHeaders(posted, { "x-twilio-signature": signature }),
  };

  const event = json({ EventType: "onMessageAdded", MessageSid: `IM${random()}`, Body: "Grüße 🎉" });
  const hash = `x=1&bodySHA256=${webhooks.getExpectedBodyHash(event.body)}`;
  const of_url = webhooks.getExpectedTwilioSignature(secret, `${url}?${hash}`, {});
  const is_valid = twilio.validateRequestWithBody(secret, of_url, `${url}?${hash}`, event.body);
  const of_json = {
    case: "json",
    signer: library("twilio"),
    verifier: accepted(is_valid, library("twilio")),
    query: hash,
    secrets: [secret],
    ...withHeaders(event, { "x-twilio-signature": of_url }),
  };

  // Newer than the library: the hash that a tenant chooses at Twilio.
  const call = { CallSid: `CA${random()}`, CallStatus: "completed", SequenceNumber: "2" };
  const sorted = Object.keys(call).sort().map((name) => name + call[name]).join("");
  const sha256 = {
    case: "sha256",
    signer: NODE,
    secrets: [secret],
    ...form(call, {
      "x-twilio-signature": hmac("sha256", secret, url + sorted, "base64"),
      "x-twilio-webhooks-signature-settings": "key=CR0123456789,algorithm=HMAC_SHA256",
    }),
  };
  return [of_form, of_json, sha256];
}

function messageHeaders(prefix, id, now, signature) {
  return { [`${prefix}-id`]: id, [`${prefix}-timestamp`]: seconds(now), [`${prefix}-signature`]: signature };
}

async function standardWebhooks({ now }) {
  const secret = prefixed();
  const id = `msg_${random()}`;
  const timestamp = new Date(now).toISOString();
  const request = json({ type: "contact.created", timestamp, data: { name: "Zoë 🎉" } });
  const signature = new StandardWebhook(secret).sign(id, new Date(now), request.body);
  const headers = messageHeaders("webhook", id, now, signature);
  const read = new StandardWebhook(secret).verify(request.body, headers);
  const verifier = accepted(read.type === "contact.created", library("standardwebhooks"));

  // The library knows v1 only.
  const pair = generateKeyPairSync("ed25519");
  const public_key = pair.publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
  const signed = sign(null, Buffer.from(`${id}.${seconds(now)}.${request.body}`), pair.privateKey);
  const of_v1a = messageHeaders("webhook", id, now, `v1a,${signed.toString("base64")}`);
  return [
    { case: "v1", signer: library("standardwebhooks"), verifier, secrets: [secret], ...withHeaders(request, headers) },
    { case: "v1a", signer: NODE, secrets: [`whpk_${public_key}`], ...withHeaders(request, of_v1a) },
  ];
}

async function svix({ now }) {
  const secret = prefixed();
  const id = `msg_${random()}`;
  const request = json(
    { type: "email.delivered", created_at: new Date(now).toISOString(), data: { to: ["zoë@example.com"] } },
  );
  const signature = new SvixWebhook(secret).sign(id, new Date(now), request.body);
  const headers = messageHeaders("svix", id, now, signature);
  // It returns nothing, and throws where it refuses.
  new SvixWebhook(secret).verify(request.body, headers);
  const verifier = library("svix");
  return [{ case: "message", signer: library("svix"), verifier, secrets: [secret], ...withHeaders(request, headers) }];
}

async function hubspot({ url, now }) {
  const clientSecret = random();
  const change = { eventId: 1, subscriptionId: 2, portalId: 3, occurredAt: now, subscriptionType: "contact.creation" };
  const request = json([{ ...change, objectId: 9, name: "Zoë 🎉" }]);
  const name = "@hubspot/api-client";
  // HubSpot signs the URL with its escapes decoded.
  const queries = { plain: ["", ""], query: ["?state=a%3Ab%2Fc", "?state=a:b/c"] };
  return Object.entries(queries).map(([kind, [sent, decoded]]) => {
    const options = { url: url + decoded, requestBody: request.body, timestamp: now, clientSecret };
    const signature = Signature.getSignature("POST", "v3", options);
    const is_valid = Signature.isValid({ ...options, signature, method: "POST", signatureVersion: "v3" });
    return {
      case: kind,
      signer: library(name),
      verifier: accepted(is_valid, library(name)),
      query: sent.slice(1),
      secrets: [clientSecret],
      ...withHeaders(request, { "x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": String(now) }),
    };
  });
}

async function apple({ now }) {
  const client = `com.example.${random(8)}`;
  const kid = random(5);
  const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
  const event = { type: "email-disabled", sub: "000000.0123456789abcdef.0000", event_time: now };
  const token = await new SignJWT({ events: JSON.stringify(event) })
    .setProtectedHeader({ alg: "RS256", kid })
    .setIssuer("https://appleid.apple.com")
    .setAudience(client)
    .setIssuedAt(Math.floor(now / 1000))
    .setJti(random())
    .sign(privateKey);
  const other = await generateKeyPair("RS256", { extractable: true });
  const keys = [
    { ...(await exportJWK(other.publicKey)), kid: random(5), use: "sig", alg: "RS256" },
    { ...(await exportJWK(publicKey)), kid, use: "sig", alg: "RS256" },
  ];
  const options = { issuer: "https://appleid.apple.com", audience: client, algorithms: ["RS256"] };
  const { payload } = await jwtVerify(token, createLocalJWKSet({ keys }), options);
  const verifier = accepted(JSON.parse(payload.events).type === event.type, library("jose"));
  const request = json({ payload: token });
  return [{ case: "jws", signer: library("jose"), verifier, secrets: [client], published_keys: { keys }, ...request }];
}

async function googleRisc({ now }) {
  const client = `${random(8)}.apps.googleusercontent.com`;
  const kid = random(5);
  const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
  const name = "https://schemas.openid.net/secevent/risc/event-type/tokens-revoked";
  const subject = { subject_type: "iss-sub", iss: "https://accounts.google.com/", sub: "110169484474386276334" };
  const token = await new SignJWT({ events: { [name]: { subject } } })
    .setProtectedHeader({ alg: "RS256", kid, typ: "secevent+jwt" })
    .setIssuer("https://accounts.google.com/")
    .setAudience(client)
    .setIssuedAt(Math.floor(now / 1000))
    .setJti(random())
    .sign(privateKey);
  const keys = [{ ...(await exportJWK(publicKey)), kid, use: "sig", alg: "RS256" }];
  const options = { issuer: "https://accounts.google.com/", audience: client, algorithms: ["RS256"] };
  const { payload } = await jwtVerify(token, createLocalJWKSet({ keys }), options);
  const verifier = accepted(payload.events[name].subject.sub === subject.sub, library("jose"));
  const request = { method: "POST", body: token, headers: { "content-type": "application/secevent+jwt" } };
  return [{ case: "jws", signer: library("jose"), verifier, secrets: [client], published_keys: { keys }, ...request }];
}

async function sendgrid({ now }) {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const secret = publicKey.export({ format: "der", type: "spki" }).toString("base64");
  const timestamp = seconds(now);
  const event = {
    email: "zoë@example.com", timestamp: Number(timestamp), sg_message_id: random(), sg_event_id: random(),
  };
  const request = json([{ ...event, event: "delivered" }]);
  // The line break at the end is signed.
  request.body += "\r\n";
  const signature = sign("sha256", Buffer.from(timestamp + request.body), privateKey).toString("base64");
  const library_of = new EventWebhook();
  const key = library_of.convertPublicKeyToECDSA(secret);
  const is_valid = library_of.verifySignature(key, request.body, signature, timestamp);
  const headers = {
    "x-twilio-email-event-webhook-signature": signature,
    "x-twilio-email-event-webhook-timestamp": timestamp,
  };
  const verifier = accepted(is_valid, library("@sendgrid/eventwebhook"));
  return [{ case: "events", signer: NODE, verifier, secrets: [secret], ...withHeaders(request, headers) }];
}

async function shopify({ url, now }) {
  const secret = random();
  const request = json({ id: 1, email: "zoë@example.com" });
  const hash = hmac("sha256", secret, request.body, "base64");
  const shared = (prefix) => ({
    [`${prefix}hmac-sha256`]: hash,
    [`${prefix}shop-domain`]: "shop.myshopify.com",
    [`${prefix}api-version`]: "2026-10",
    [`${prefix}webhook-id`]: random(),
    [`${prefix}triggered-at`]: new Date(now).toISOString(),
  });
  const kinds = {
    webhook: { ...shared("x-shopify-"), "x-shopify-topic": "orders/create", "x-shopify-event-id": random() },
    event: {
      ...shared("shopify-"),
      "shopify-topic": "Product",
      "shopify-handle": "products",
      "shopify-action": "update",
    },
  };
  const api = shopifyApi({
    apiSecretKey: secret,
    apiVersion: "2026-10",
    hostName: "app.example.com",
    isEmbeddedApp: true,
    apiKey: "of_no_app",
    logger: { level: 0 },
  });
  return Promise.all(
    Object.entries(kinds).map(async ([kind, headers]) => {
      const rawRequest = { method: "POST", url: new URL(url).pathname, headers };
      const outcome = await api.webhooks.validate({ rawBody: request.body, rawRequest, rawResponse: {} });
      const verifier = accepted(outcome.valid, library("@shopify/shopify-api"));
      return { case: kind, signer: NODE, verifier, secrets: [secret], ...withHeaders(request, headers) };
    }),
  );
}

async function square({ url, now }) {
  const secret = random();
  const created_at = new Date(now).toISOString();
  const event = { merchant_id: "M", type: "payment.created", event_id: random(), created_at, note: "Grüße 🎉" };
  const request = json(event);
  const signature = hmac("sha256", secret, url + request.body, "base64");
  const checked = python({ vendor: "square", secret, url, signature, body: request.body });
  const headers = { "x-square-hmacsha256-signature": signature };
  const verifier = accepted(checked.is_valid, checked.library);
  return [{ case: "event", signer: NODE, verifier, secrets: [secret], ...withHeaders(request, headers) }];
}

async function paddle({ now }) {
  const secret = `pdl_ntfset_${random()}`;
  const occurred_at = new Date(now).toISOString();
  const request = json(
    { event_id: `evt_${random()}`, event_type: "transaction.completed", occurred_at, data: { name: "Zoë 🎉" } },
  );
  const header = `ts=${seconds(now)};h1=${hmac("sha256", secret, `${seconds(now)}:${request.body}`, "hex")}`;
  const client = new Paddle("of_no_account");
  const is_valid = await client.webhooks.isSignatureValid(request.body, secret, header);
  const verifier = accepted(is_valid, library("@paddle/paddle-node-sdk"));
  const headers = { "paddle-signature": header };
  return [{ case: "event", signer: NODE, verifier, secrets: [secret], ...withHeaders(request, headers) }];
}

async function discord({ now }) {
  const key = ed25519();
  const secret = key.bytes.toString("hex");
  const timestamp = seconds(now);
  const name = "discord-interactions";
  const data = { integration_type: 1, scopes: ["applications.commands"], user: { username: "Zoë 🎉" } };
  const event = { type: "APPLICATION_AUTHORIZED", timestamp: iso(now).replace("Z", ""), data };
  const application_id = "1234560123453231555";
  const command = { id: random(), type: 2, token: random(), data: { name: "größe", type: 1 }, locale: "de" };
  const requests = {
    event: json({ version: 1, application_id, type: 1, event }),
    command: json({ version: 1, application_id, ...command }),
  };
  return Promise.all(
    Object.entries(requests).map(async ([kind, request]) => {
      const signature = key.sign(timestamp + request.body).toString("hex");
      const verifier = accepted(await verifyKey(request.body, signature, timestamp, secret), library(name));
      const headers = { "x-signature-timestamp": timestamp, "x-signature-ed25519": signature };
      return { case: kind, signer: NODE, verifier, secrets: [secret], ...withHeaders(request, headers) };
    }),
  );
}

async function gitlab({ now }) {
  const push = { object_kind: "push", event_name: "push", ref: "refs/heads/main", user_name: "Zoë 🎉" };
  const merge = { object_kind: "merge_request", event_type: "merge_request", user: { name: "Zoë 🎉" } };
  const shared = { "x-gitlab-instance": "https://gitlab.com", "x-gitlab-event-uuid": randomUUID() };

  // GitLab names Standard Webhooks as the layout of its signing tokens, so that library is the foreign side.
  const secret = `whsec_${Buffer.from(random(32), "hex").toString("base64")}`;
  const id = randomUUID();
  const signed = json(push);
  const signature = new StandardWebhook(secret).sign(id, new Date(now), signed.body);
  const headers = messageHeaders("webhook", id, now, signature);
  const read = new StandardWebhook(secret).verify(signed.body, headers);
  const verifier = accepted(read.object_kind === "push", library("standardwebhooks"));
  const of_token = random();
  const kinds = {
    signed: { signer: library("standardwebhooks"), verifier, secrets: [secret], ...withHeaders(signed, headers) },
    token: { signer: NODE, secrets: [of_token], ...json(merge, { "x-gitlab-token": of_token }) },
  };
  const events = { signed: "Push Hook", token: "Merge Request Hook" };
  return Object.entries(kinds).map(([kind, request]) => {
    return { case: kind, ...withHeaders(request, { ...shared, "x-gitlab-event": events[kind] }) };
  });
}

async function linear({ now }) {
  const secret = `lin_wh_${random()}`;
  const data = { id: randomUUID(), title: "Zoë 🎉" };
  const event = { action: "create", type: "Issue", createdAt: iso(now), data, webhookTimestamp: now };
  const request = json({ ...event, webhookId: randomUUID() });
  const signature = hmac("sha256", secret, request.body, "hex");
  const read = new LinearWebhookClient(secret).parseData(Buffer.from(request.body), signature);
  const verifier = accepted(read.data.id === data.id, library("@linear/sdk"));
  const headers = { "linear-delivery": randomUUID(), "linear-event": "Issue", "linear-signature": signature };
  return [{ case: "issue", signer: NODE, verifier, secrets: [secret], ...withHeaders(request, headers) }];
}

async function notion({ now }) {
  const verificationToken = `secret_${random()}`;
  const entity = { id: randomUUID(), type: "page" };
  const request = json({ id: randomUUID(), timestamp: iso(now), type: "page.created", entity, note: "Grüße 🎉" });
  const signed = { body: request.body, verificationToken };
  const signature = await signWebhookPayload(signed);
  const name = "@notionhq/client";
  const verifier = accepted(await verifyWebhookSignature({ ...signed, signature }), library(name));
  const headers = { "x-notion-signature": signature };
  const secrets = [verificationToken];
  return [{ case: "page", signer: library(name), verifier, secrets, ...withHeaders(request, headers) }];
}

export const LIBRARIES = {
  apple_sign_in: apple,
  discord,
  github,
  gitlab,
  google_risc: googleRisc,
  hubspot_v3: hubspot,
  linear,
  notion,
  paddle,
  sendgrid,
  shopify,
  slack,
  square,
  standard_webhooks: standardWebhooks,
  stripe,
  svix,
  twilio: twilioRequests,
};
