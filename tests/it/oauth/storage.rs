//! Where tokens are, with the parameters of the template that say otherwise.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testkit::{Stack, eventually, stack::text};

use super::setup::Crm;
use crate::SOON;

/// The names of a deployment's secrets of connections, without what they begin with.
async fn secrets(stack: &Stack) -> BTreeSet<String> {
    let beginning = format!("{}/connections/", stack.name());
    let (mut names, mut token) = (BTreeSet::new(), Value::Null);
    loop {
        let mut body = json!({ "MaxResults": 100 });
        if !token.is_null() {
            body["NextToken"] = token;
        }
        let page = stack.aws("secretsmanager", "secretsmanager.ListSecrets", body).await;
        let listed = page["SecretList"].as_array().cloned().unwrap_or_default();
        let listed = listed.iter().map(|one| text(one, "Name"));
        names.extend(listed.filter_map(|name| Some(name.strip_prefix(&beginning)?.to_owned())));
        token = page["NextToken"].clone();
        if token.is_null() {
            return names;
        }
    }
}

async fn row(stack: &Stack, crm: &Crm, id: &str) -> Value {
    let key = json!({ "pk": { "S": crm.tenant.tenant_id() }, "sk": { "S": format!("connection#{id}") } });
    let body = json!({ "TableName": stack.output("RegistryTableName"), "Key": key, "ConsistentRead": true });
    stack.aws("dynamodb", "DynamoDB_20120810.GetItem", body).await["Item"].clone()
}

#[tokio::test]
async fn rotating_tokens_can_stay_sealed_in_their_row() {
    let (stack, clock) =
        Stack::deploy_with_clock_and("cw-oauth-sealed", &[("RotatingTokens", "sealed")]).await;
    let crm = Crm::on(&stack, "rotating").await;
    let connection = crm.connect("u_1", "ada").await;
    let id = text(&connection, "id");
    let mut sealed = BTreeSet::new();
    for generation in 1..=3 {
        let stored = row(&stack, &crm, &id).await;
        assert_eq!(stored["place"], json!({ "S": "sealed" }), "{stored}");
        sealed.insert(text(&stored["journal"], "S"));
        // The provider accepts each refresh token once, so each was kept.
        let token = crm.token(&connection, json!({ "refused_generation": generation })).await.expect(200);
        assert_eq!(token["generation"], generation + 1);
        assert!(crm.is_accepted(&token).await);
        // A token of a moment ago is not replaced again.
        clock.ahead(Duration::from_mins(1) * generation);
    }
    assert_eq!(sealed.len(), 3, "each refresh sealed another token");
    assert_eq!(secrets(&stack).await, BTreeSet::new());
    let ended = crm.tenant.delete(&format!("/v1/connections/{id}")).await;
    assert_eq!(ended.status, 202);
    let tokens = async || {
        let stored = row(&stack, &crm, &id).await;
        let is_empty = ["journal", "token", "place"].iter().all(|name| stored[name].is_null());
        is_empty.then_some(())
    };
    eventually("the tokens to be removed", SOON, tokens).await;
    // The grant was ended at the provider by the sealed token.
    let revoked = async || crm.provider.log().await.into_iter().find(|one| one["place"] == "revoke");
    eventually("the revocation", SOON, revoked).await;
}

#[tokio::test]
async fn each_tenant_can_have_documents_of_its_own() {
    let stack = Stack::deploy_with("cw-oauth-tenants", &[("CredentialShards", "per-tenant")]).await;
    let (acme, other) = (Crm::on(&stack, "keeping").await, Crm::on(&stack, "keeping").await);
    let mut connections = Vec::new();
    for (crm, user, account) in
        [(&acme, "u_1", "ada"), (&other, "u_2", "ada"), (&acme, "u_3", "bob"), (&other, "u_4", "bob")]
    {
        connections.push((crm, crm.connect(user, account).await));
    }
    let names = eventually("the documents", SOON, || async {
        let names = secrets(&stack).await;
        (names.len() >= 2).then_some(names)
    })
    .await;
    for crm in [&acme, &other] {
        let own = names.iter().filter(|name| name.starts_with(&format!("{}/shard-", crm.tenant.tenant_id())));
        assert_eq!(own.count(), 1, "{names:?}");
    }
    assert_eq!(names.len(), 2, "no document is of two tenants: {names:?}");
    for (crm, connection) in &connections {
        let token = crm.token(connection, json!({ "refused_generation": 1 })).await.expect(200);
        assert!(crm.is_accepted(&token).await);
    }
}
