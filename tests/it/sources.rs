//! Sources by their own routes: settings, secrets and providers. Dry runs are in `dry_runs`.

use std::time::Duration;

use domain::inbound::Provider;
use serde_json::{Value, json};
use testkit::{
    Client, Stack,
    client::{AuditEntryView, SourceView},
    foreign,
    stack::text,
};

use crate::dry_runs::{INVOICE, now, signed, verify};

pub(crate) const SECRET: &str = "whsec_test_key_of_these_tests";
pub(crate) const TOKEN: &str = "a-token-of-these-tests";

pub(crate) async fn create(tenant: &Client, body: Value) -> SourceView {
    tenant.post("/v1/sources", &body).await.read(201)
}

/// What the trail has of sources, the newest first.
async fn changes(tenant: &Client) -> Vec<AuditEntryView> {
    let entries: Vec<AuditEntryView> = tenant.list("/v1/audit", 250).await;
    entries.into_iter().filter(|entry| entry.action.starts_with("source.")).collect()
}

pub(crate) fn token_table() -> Value {
    json!({
        "scheme": { "methods": [{ "signature": { "from": "header:authorization" }, "algorithm": "token" }] },
        "events": { "event_type": ["json:/type"], "dedupe": [["json:/id"]] },
    })
}

pub(crate) fn custom(more: &Value) -> Value {
    let mut body = json!({ "provider": "custom", "table": token_table() });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_source_is_created_listed_changed_and_deleted() {
    let stack = Stack::shared();
    let tenant = stack.tenant().await;
    let first =
        create(&tenant, json!({ "provider": "stripe", "secrets": [SECRET], "description": "billing" })).await;
    assert!(first.url.ends_with(&format!("/in/stripe/{}", first.id)));
    assert_eq!((first.secret_count, first.has_verify_token, &first.table), (1, false, &None));
    let networks = json!(["192.0.2.7/24", "2001:db8::/32", "198.51.100.1"]);
    let second = create(
        &tenant,
        json!({
            "provider": "meta", "allowed_networks": networks, "rate_limit": 5,
            "public_urls": ["https://hooks.acme.example/Meta"], "verify_token": "a-verify-token-of-ours",
        }),
    )
    .await;
    assert_eq!(second.allowed_networks, ["192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32"]);
    assert_eq!(second.public_urls, ["https://hooks.acme.example/Meta"]);
    assert_eq!((second.rate_limit, second.has_verify_token, second.secret_count), (Some(5), true, 0));

    let path = format!("/v1/sources/{}", second.id);
    let read = tenant.get(&path).await.expect(200);
    assert!(!read.to_string().contains("a-verify-token-of-ours"), "{read}");
    let third = create(&tenant, custom(&json!({ "secrets": [TOKEN] }))).await;
    let listed: Vec<SourceView> = tenant.list("/v1/sources", 2).await;
    let ids: Vec<_> = listed.iter().map(|source| &source.id).collect();
    assert_eq!(ids, [&third.id, &second.id, &first.id], "newest first");
    assert_eq!(listed[1], second);
    // What is read can be written back, and changes nothing.
    let same: SourceView = tenant.patch(&path, &read).await.read(200);
    assert_eq!(same, second);
    let kept = third.table.clone().unwrap();
    let third_path = format!("/v1/sources/{}", third.id);
    let same: SourceView = tenant.patch(&third_path, &json!({ "table": kept })).await.read(200);
    assert_eq!(same, third);
    let entries = changes(&tenant).await;
    assert_eq!(entries.len(), 3, "the three creations: {entries:?}");

    let changed: SourceView =
        tenant.patch(&path, &json!({ "description": "leads", "rate_limit": 7 })).await.read(200);
    assert_eq!((changed.description.as_str(), changed.rate_limit), ("leads", Some(7)));
    assert_eq!(changed.allowed_networks, second.allowed_networks, "it was left out");
    let nothing =
        json!({ "rate_limit": null, "allowed_networks": null, "public_urls": null, "verify_token": null });
    let reset: SourceView = tenant.patch(&path, &nothing).await.read(200);
    assert_eq!((reset.rate_limit, reset.has_verify_token), (None, false));
    assert!(reset.allowed_networks.is_empty() && reset.public_urls.is_empty());
    assert_eq!(tenant.read::<SourceView>(&path).await, reset);

    // Deleting again changes nothing, and what never was is not found.
    for _ in 0..2 {
        tenant.delete(&path).await.expect(204);
    }
    tenant.get(&path).await.expect_problem(404, "not-found");
    tenant.patch(&path, &json!({})).await.expect_problem(404, "not-found");
    tenant.delete("/v1/sources/src_01kavg7r8e6mt4xw2z5v9b3csq").await.expect_problem(404, "not-found");
    assert_eq!(tenant.list::<SourceView>("/v1/sources", 250).await.len(), 2);
}

#[tokio::test]
async fn the_trail_shows_each_change_to_a_source_and_no_secret() {
    let tenant = Stack::shared().tenant().await;
    let source =
        create(&tenant, json!({ "provider": "meta", "verify_token": "a-verify-token-of-ours" })).await;
    let path = format!("/v1/sources/{}", source.id);
    tenant
        .patch(&path, &json!({ "rate_limit": 7, "verify_token": "another-token-of-ours" }))
        .await
        .expect(200);
    let secrets = json!({ "secrets": ["0123456789abcdef0123456789abcdef"] });
    tenant.post(&format!("{path}/secrets"), &secrets).await.expect(200);
    let rotation = json!({ "secret": "fedcba9876543210fedcba9876543210" });
    tenant.post(&format!("{path}/secrets/rotate"), &rotation).await.expect(200);
    tenant.delete(&path).await.expect(204);
    let entries = changes(&tenant).await;
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    let expected = [
        "source.deleted",
        "source.secrets.rotated",
        "source.secrets.set",
        "source.updated",
        "source.created",
    ];
    assert_eq!(actions, expected);
    assert!(entries.iter().all(|entry| entry.subject == source.id));
    assert_eq!(entries[3].before, json!({ "rate_limit": null, "has_verify_token": true }));
    assert_eq!(entries[3].after, json!({ "rate_limit": 7, "has_verify_token": true }));
    assert_eq!(
        (&entries[1].before["secret_count"], &entries[1].after["secret_count"]),
        (&json!(1), &json!(2))
    );
    assert_eq!((&entries[0].before["secret_count"], &entries[0].after), (&json!(2), &Value::Null));
    let all = tenant.get("/v1/audit").await.expect(200).to_string();
    for secret in ["token-of-ours", "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn what_is_invalid_names_its_field() {
    let tenant = Stack::shared().tenant().await;
    let stripe = |more: Value| {
        let mut body = json!({ "provider": "stripe" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let table = |pointer: &str, value: Value| {
        let mut table = token_table();
        *table.pointer_mut(pointer).expect("a place of the table") = value;
        json!({ "provider": "custom", "table": table })
    };
    let methods = "/scheme/methods/0";
    let unsigned = table(&format!("{methods}/algorithm"), json!("hmac-sha256"));
    let jws = json!({ "signature": { "from": "json:/jws" }, "algorithm": "jws-rs256",
        "claims": { "issuer": "https://idp.example", "leeway": 60 } });
    let urls: Vec<_> = (0..6).map(|number| format!("https://acme.example/{number}")).collect();
    let networks = vec!["192.0.2.0/24"; 101];
    for (body, pointer) in [
        (json!({ "provider": "nonsense" }), "/provider"),
        (json!({ "provider": "custom" }), "/table"),
        (json!({ "provider": "custom", "table": null }), "/table"),
        (json!({ "provider": "custom", "table": [] }), "/table"),
        (stripe(json!({ "table": token_table() })), "/table"),
        (table("/scheme", json!({})), "/table/scheme"),
        (table("/scheme/methods", json!([])), "/table/scheme/methods"),
        (table("/events/dedupe", json!([])), "/table/events/dedupe"),
        (table("/events/event_type", json!(["nowhere"])), "/table/events/event_type/0"),
        (unsigned, "/table/scheme/methods/0/signed"),
        (table(methods, jws), "/table/scheme/methods/0/algorithm"),
        (custom(&json!({ "secrets": ["short"] })), "/secrets/0"),
        (custom(&json!({ "secrets": ["x".repeat(513)] })), "/secrets/0"),
        (stripe(json!({ "secrets": ["sk_live_another_kind_of_key"] })), "/secrets/0"),
        (stripe(json!({ "public_urls": ["nonsense"] })), "/public_urls/0"),
        (
            stripe(json!({ "public_urls": ["https://acme.example/", "https://acme.example/?a=b"] })),
            "/public_urls/1",
        ),
        (stripe(json!({ "public_urls": ["https://acme.example/#a"] })), "/public_urls/0"),
        (stripe(json!({ "public_urls": ["https://user:password@acme.example/"] })), "/public_urls/0"),
        (stripe(json!({ "public_urls": ["ftp://acme.example/"] })), "/public_urls/0"),
        (stripe(json!({ "public_urls": urls })), "/public_urls"),
        (stripe(json!({ "allowed_networks": ["192.0.2.0/33"] })), "/allowed_networks/0"),
        (stripe(json!({ "allowed_networks": ["acme.example"] })), "/allowed_networks/0"),
        (stripe(json!({ "allowed_networks": networks })), "/allowed_networks"),
        (stripe(json!({ "rate_limit": 0 })), "/rate_limit"),
        (stripe(json!({ "rate_limit": 1001 })), "/rate_limit"),
        (stripe(json!({ "verify_token": "a-verify-token-of-ours" })), "/verify_token"),
        (json!({ "provider": "meta", "verify_token": "short" }), "/verify_token"),
        (stripe(json!({ "description": "x".repeat(1001) })), "/description"),
        (stripe(json!({ "id": "src_1" })), "/id"),
    ] {
        let response = tenant.post("/v1/sources", &body).await;
        let found = (response.status, response.problem(), response.pointer());
        assert_eq!(found, (422, "invalid-field", pointer), "{body}: {}", response.json);
    }
    // All faults of a table are named.
    let mut table = token_table();
    table["events"]["dedupe"] = json!([]);
    table["events"]["event_type"] = json!([]);
    let response = tenant.post("/v1/sources", &json!({ "provider": "custom", "table": table })).await;
    assert_eq!(response.json["errors"].as_array().unwrap().len(), 2, "{}", response.json);
    assert_eq!(tenant.list::<SourceView>("/v1/sources", 250).await, [], "none was created");

    let [of_stripe, of_custom] =
        [create(&tenant, stripe(json!({}))).await, create(&tenant, custom(&json!({}))).await];
    for (source, change, pointer) in [
        (&of_stripe, json!({ "table": token_table() }), "/table"),
        (&of_stripe, json!({ "verify_token": "a-verify-token-of-ours" }), "/verify_token"),
        (&of_stripe, json!({ "description": null }), "/description"),
        (&of_stripe, json!({ "secrets": [SECRET] }), "/secrets"),
        (&of_custom, json!({ "table": null }), "/table"),
        (&of_custom, json!({ "table": { "scheme": {}, "events": {} } }), "/table/events"),
        (&of_custom, json!({ "rate_limit": 1001 }), "/rate_limit"),
    ] {
        let response = tenant.patch(&format!("/v1/sources/{}", source.id), &change).await;
        response.expect_invalid_field(pointer);
    }
    // A public key as PEM may be longer than a secret.
    let mut keyed = token_table();
    keyed["scheme"]["methods"][0] = json!({ "signature": { "from": "header:x-signature" },
        "algorithm": "rsa-sha256", "signed": "{body}", "key": { "encoding": "spki" } });
    for (length, words) in [(513, "public key"), (4097, "at most 4096")] {
        let body = json!({ "provider": "custom", "table": keyed, "secrets": ["x".repeat(length)] });
        let response = tenant.post("/v1/sources", &body).await;
        response.expect_invalid_field("/secrets/0");
        let detail = text(&response.json, "detail");
        assert!(detail.contains(words) || words == "public key" && !detail.contains("bytes"), "{detail}");
    }
}

#[tokio::test]
async fn a_new_table_fits_the_secrets_of_its_source() {
    let tenant = Stack::shared().tenant().await;
    let table = |method: Value| {
        let mut table = token_table();
        table["scheme"]["methods"][0] = method;
        json!({ "table": table })
    };
    let signature = json!({ "from": "header:x-signature" });
    let keyed = table(json!({ "signature": signature, "algorithm": "ed25519", "signed": "{body}",
        "key": { "encoding": "spki" } }));
    let secret = table(json!({ "signature": signature, "algorithm": "hmac-sha256", "signed": "{body}" }));
    let hex = table(json!({ "signature": signature, "algorithm": "hmac-sha256", "signed": "{body}",
        "key": { "encoding": "hex" } }));
    let public = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";
    let of = async |first: &Value, secrets: Value| {
        let body = json!({ "provider": "custom", "table": first["table"], "secrets": secrets });
        format!("/v1/sources/{}", create(&tenant, body).await.id)
    };
    for (first, secrets, second, pointer) in [
        (&keyed, json!([public]), &secret, Some("/table/scheme/methods")),
        (&secret, json!([TOKEN]), &keyed, Some("/table/scheme/methods")),
        (&secret, json!([TOKEN]), &hex, Some("/table")),
        (&hex, json!(["0123456789abcdef0123456789abcdef"]), &secret, None),
        (&keyed, json!([]), &secret, None),
    ] {
        let path = of(first, secrets).await;
        let response = tenant.patch(&path, second).await;
        match pointer {
            Some(pointer) => response.expect_invalid_field(pointer),
            None => _ = response.expect(200),
        }
    }
}

/// With its defaults a table is longer than it was written.
#[tokio::test]
async fn a_table_is_limited_as_it_is_stored() {
    let tenant = Stack::shared().tenant().await;
    let mut body = custom(&json!({}));
    body["table"]["responses"] = json!({ "accepted": { "status": 200, "body": "" } });
    let length = body["table"].to_string().len();
    body["table"]["responses"]["accepted"]["body"] = json!("x".repeat(16_350 - length));
    tenant.post("/v1/sources", &body).await.expect_invalid_field("/table");
    body["table"]["responses"]["accepted"]["body"] = json!("x".repeat(15_000));
    let source = create(&tenant, body).await;
    let kept = json!({ "table": source.table });
    let same: SourceView = tenant.patch(&format!("/v1/sources/{}", source.id), &kept).await.read(200);
    assert_eq!(tenant.list::<SourceView>("/v1/sources", 250).await, [same]);
}

/// Of requests at the same time one is the last, and the row counts what it has left.
#[tokio::test]
async fn secrets_that_are_set_at_once_are_counted() {
    let tenant = Stack::shared().tenant().await;
    let source = create(&tenant, json!({ "provider": "stripe" })).await;
    let path = format!("/v1/sources/{}", source.id);
    for _ in 0..3 {
        let set = |count: usize| {
            let secrets: Vec<_> =
                (0..count).map(|number| format!("whsec_{count}_{number}_of_this_test")).collect();
            let (tenant, path) = (tenant.clone(), format!("{path}/secrets"));
            async move { tenant.post(&path, &json!({ "secrets": secrets })).await.status }
        };
        let statuses: [u16; 4] = tokio::join!(set(1), set(2), set(3), set(4)).into();
        assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
        let counted = tenant.read::<SourceView>(&path).await.secret_count;
        let newest = format!("whsec_{counted}_0_of_this_test");
        let found = verify(&tenant, &path, &signed(INVOICE, &newest, now()).await).await;
        assert_eq!(found.outcome, "accepted", "{counted}");
    }
}

#[tokio::test]
async fn a_source_without_a_secret_awaits_the_one_of_a_handshake() {
    let tenant = Stack::shared().tenant().await;
    let waiting = create(&tenant, json!({ "provider": "asana" })).await;
    assert!(waiting.awaits_secret_until.is_some());
    let path = format!("/v1/sources/{}", waiting.id);
    let handshake = json!({ "headers": { "X-Hook-Secret": "the-secret-of-a-handshake" }, "body": "" });
    let found = verify(&tenant, &path, &handshake).await;
    assert_eq!((found.outcome.as_str(), &found.response["status"]), ("challenge", &json!(200)));
    assert_eq!(found.response["headers"]["x-hook-secret"], "{secret}");
    assert_eq!(tenant.read::<SourceView>(&path).await, waiting, "a dry run stores no secret");
    let secrets = json!({ "secrets": ["the-secret-of-a-handshake"] });
    tenant.post(&format!("{path}/secrets"), &secrets).await.expect(200);
    let has_one: SourceView = tenant.read(&path).await;
    assert_eq!((has_one.awaits_secret_until, has_one.secret_count), (None, 1));
    for body in [json!({ "provider": "asana", "secrets": [TOKEN] }), json!({ "provider": "stripe" })] {
        assert_eq!(create(&tenant, body).await.awaits_secret_until, None);
    }
}

#[tokio::test]
async fn a_rotated_secret_stays_valid_for_a_while() {
    let tenant = Stack::shared().tenant().await;
    let source = create(&tenant, json!({ "provider": "stripe", "secrets": [SECRET] })).await;
    let path = format!("/v1/sources/{}", source.id);
    let rotate = async |secret: &str, overlap: u32| {
        let body = json!({ "secret": secret, "overlap_seconds": overlap });
        tenant.post(&format!("{path}/secrets/rotate"), &body).await
    };
    let outcome = async |secret: &str| verify(&tenant, &path, &signed(INVOICE, secret, now()).await).await;
    let (second, third) = ("whsec_the_second_of_these_tests", "whsec_the_third_of_these_tests");
    let rotated = rotate(second, 3600).await.expect(200);
    assert_eq!(rotated["secret_count"], 2);
    assert_eq!(outcome(second).await.secret_index, Some(0));
    assert_eq!(outcome(SECRET).await.secret_index, Some(1));
    // A short overlap ends soon, also at the source's URL.
    rotate(third, 2).await.expect(200);
    let send = async |secret: &str| {
        let signature = foreign::stripe_signature(INVOICE, secret, now()).await;
        let headers = [("stripe-signature", signature.as_str())];
        let url = format!("/in/stripe/{}", source.id);
        let anonymous = tenant.with_key(None);
        anonymous.send(reqwest::Method::POST, &url, &headers, Some(INVOICE.into())).await.status
    };
    assert_eq!(send(third).await, 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((send(third).await, send(second).await, send(SECRET).await), (200, 401, 401));
    assert_eq!(outcome(second).await.outcome, "refused");
    rotate(third, 0).await.expect_invalid_field("/secret");
    rotate("short", 0).await.expect_invalid_field("/secret");
    rotate(second, 604_801).await.expect_invalid_field("/overlap_seconds");
    let many: Vec<_> = (0..4).map(|number| format!("whsec_number_{number}_of_these_tests")).collect();
    tenant.post(&format!("{path}/secrets"), &json!({ "secrets": many })).await.expect(200);
    let refused = rotate(second, 60).await;
    refused.expect_problem(422, "limit-reached");
    assert!(text(&refused.json, "detail").contains("never expire"), "{}", refused.json);
    assert_eq!(rotate(second, 0).await.expect(200)["secret_count"], 1);
    assert_eq!(tenant.read::<SourceView>(&path).await.secret_count, 1);
}

#[tokio::test]
async fn every_provider_says_how_it_is_connected() {
    let tenant = Stack::shared().tenant().await.with_scopes(&["sources:read"]).await;
    let all = tenant.get("/v1/providers").await.expect(200);
    let all = all["data"].as_array().unwrap();
    let names: Vec<_> = all.iter().map(|provider| text(provider, "name")).collect();
    let known: Vec<_> = Provider::all().filter(|provider| *provider != Provider::CUSTOM).collect();
    assert_eq!(names, known.iter().map(|provider| provider.as_str()).collect::<Vec<_>>());
    let of = |name: &str| all.iter().find(|provider| provider["name"] == name).unwrap();
    for provider in all {
        assert!(provider["setup"].as_array().is_some_and(|steps| !steps.is_empty()), "{provider}");
        assert!(text(provider, "docs").starts_with("https://"), "{provider}");
    }
    for (name, field, expected) in [
        ("twilio", "public_urls", true),
        ("stripe", "public_urls", false),
        ("meta", "verify_token", true),
        ("stripe", "verify_token", false),
        ("mailchimp", "path_secret", true),
        ("github", "path_secret", false),
    ] {
        assert_eq!(of(name)["needs"][field], expected, "{name} {field}");
    }
    assert_eq!(of("asana")["secret"]["made_by"], "handshake");
    assert_eq!(of("stripe")["function"], "inbound-stripe");
    assert!(of("meta")["normal_event_types"].as_array().unwrap().contains(&json!("lead.created")));
    let one = tenant.get("/v1/providers/github").await.expect(200);
    assert_eq!(&one, of("github"));
    for name in ["custom", "nonsense"] {
        tenant.get(&format!("/v1/providers/{name}")).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn another_tenants_sources_are_not_found() {
    let stack = Stack::shared();
    let (owner, stranger) = (stack.tenant().await, stack.tenant().await);
    let source = create(&owner, json!({ "provider": "stripe", "secrets": [SECRET] })).await;
    let path = format!("/v1/sources/{}", source.id);
    let unknown = stranger.get("/v1/sources/src_01kavg7r8e6mt4xw2z5v9b3csq").await;
    let secrets = json!({ "secrets": [SECRET] });
    for response in [
        stranger.get(&path).await,
        stranger.patch(&path, &json!({ "description": "mine" })).await,
        stranger.delete(&path).await,
        stranger.post(&format!("{path}/verify"), &json!({})).await,
        stranger.post(&format!("{path}/secrets"), &secrets).await,
        stranger.post(&format!("{path}/secrets/rotate"), &json!({ "secret": SECRET })).await,
    ] {
        response.expect_problem(404, "not-found");
        assert_eq!(response.json["detail"], unknown.json["detail"]);
    }
    assert_eq!(stranger.list::<SourceView>("/v1/sources", 250).await, []);
    assert_eq!(owner.read::<SourceView>(&path).await, source);
    // Reading and changing are scopes of their own.
    let reader = owner.with_scopes(&["sources:read"]).await;
    reader.get(&path).await.expect(200);
    reader.post(&format!("{path}/verify"), &json!({})).await.expect_problem(403, "forbidden");
    let writer = owner.with_scopes(&["sources:write"]).await;
    writer.get(&path).await.expect_problem(403, "forbidden");
    writer.post(&format!("{path}/verify"), &json!({})).await.expect(200);
}
