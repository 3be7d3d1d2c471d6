//! A refresh token that is renewed beside the old one, as Microsoft's are, and is replaced in the document that it
//! shares once a week.

use std::time::Duration;

use serde_json::json;
use testkit::{Stack, eventually, proxy::Fault, stack::text};

use super::{PATIENCE, Step, step};
use crate::oauth::setup::Crm;

const STEPS: &[Step] = &[
    step("before the lease", "UpdateItem", &["lease_until"], Fault::KillBefore),
    step("after the lease", "UpdateItem", &["lease_until"], Fault::KillAfter),
    // Nothing is lost here: the old refresh token is as good.
    step("between the POST and the commit", "PutItem", &["journal"], Fault::KillBefore),
    step("after the commit", "PutItem", &["journal"], Fault::KillAfter),
    step("before the document is written", "PutSecretValue", &[], Fault::KillBefore),
    step("after the document is written", "PutSecretValue", &[], Fault::KillAfter),
    step(
        "before the journal is cleared",
        "PutItem",
        &["stored_generation\":{\"N\":\"2\""],
        Fault::KillBefore,
    ),
    step("after the journal is cleared", "PutItem", &["stored_generation\":{\"N\":\"2\""], Fault::KillAfter),
];

#[tokio::test]
async fn a_refresh_token_that_is_renewed_in_a_shared_document_survives_its_writer() {
    let (stack, clock) = Stack::deploy_with_clock("cw-oauth-renewed").await;
    // One after the other: a document holds the tokens of all, so a rule cannot name one of them.
    for (index, step) in (0u32..).zip(STEPS) {
        let crm = Crm::with_plain(&stack, "renewing", "renews").await;
        clock.ahead(Duration::from_hours(24 * 8) * index);
        let connection = crm.connect("u_1", "ada").await;
        let week = Duration::from_hours(24 * 8) * (index + 1);
        clock.ahead(week);
        let hits = step.set(&stack, &text(&connection, "id")).await;
        let crashed = crm.token(&connection, json!({ "refused_generation": 1 })).await;
        assert_eq!(hits.count().await, 1, "{}: {} {}", step.name, crashed.status, crashed.json);
        // The lease has expired, and the next caller finishes.
        clock.ahead(week + Duration::from_secs(61));
        let mut generation = 1;
        for after in [61, 122] {
            clock.ahead(week + Duration::from_secs(after));
            let token = eventually(step.name, PATIENCE, || async {
                let response = crm.token(&connection, json!({ "refused_generation": generation })).await;
                (response.status == 200).then(|| response.expect(200))
            })
            .await;
            assert!(token["generation"].as_u64() > Some(generation), "{}: {token}", step.name);
            generation = token["generation"].as_u64().unwrap();
            assert!(crm.is_accepted(&token).await, "{}", step.name);
        }
        // The week's new refresh token is in use, and not the one of the consent.
        let requests = crm.provider.token_requests("refresh_token").await;
        let used = requests.iter().map(|one| text(one, "refresh_token_sha256")).collect::<Vec<_>>();
        assert_ne!(used.first(), used.last(), "{}", step.name);
        let read = crm.connection(&text(&connection, "id")).await;
        assert_eq!(text(&read, "status"), "active", "{}", step.name);
    }
}
