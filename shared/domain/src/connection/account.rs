//! Who granted: what a provider says about the account.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::idp::Profile;

/// The longest text that is kept of an account, in bytes; a `sub` has at most 255 (`OpenID` Connect Core, section 2).
const TEXT_LIMIT: usize = 512;

/// An account at a provider.
///
/// `sub` alone identifies it. A person changes an e-mail address, and a provider can give one to another person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// What identifies it at the provider.
    pub sub: String,
    /// Its e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider has verified the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Whether the address is a relay of the provider that hides the person's own.
    #[serde(default)]
    pub private_email: bool,
    /// The person's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Account {
    /// The account of an `id_token`'s claims, whose signature and meaning were checked.
    #[must_use]
    pub fn of_claims(claims: &Map<String, Value>) -> Option<Self> {
        Some(Self {
            sub: text(claims.get("sub")?)?,
            email: claims.get("email").and_then(text),
            email_verified: claims.get("email_verified").and_then(boolean),
            private_email: claims.get("is_private_email").and_then(boolean).unwrap_or(false),
            name: claims.get("name").and_then(text),
        })
    }

    /// The account of a profile, or of a token response that names it. `None` where something that identifies it is
    /// missing.
    #[must_use]
    pub fn of_profile(profile: &Profile, document: &Value) -> Option<Self> {
        let parts = profile.sub.iter().map(|pointer| document.pointer(pointer).and_then(text));
        let sub = parts.collect::<Option<Vec<_>>>()?.join(":");
        let find = |pointer: &Option<String>| document.pointer(pointer.as_deref()?);
        Some(Self {
            sub: Some(sub).filter(|sub| !sub.is_empty())?,
            email: find(&profile.email).and_then(text),
            email_verified: find(&profile.email_verified).and_then(boolean),
            private_email: false,
            name: find(&profile.name).and_then(text),
        })
    }

    /// The account after what is known of it now. What a provider leaves out is not erased: Apple names a person once.
    #[must_use]
    pub fn renewed(&self, newer: Self) -> Self {
        let same_email = newer.email.is_none() || newer.email == self.email;
        Self {
            sub: newer.sub,
            email_verified: newer.email_verified.or(self.email_verified.filter(|_| same_email)),
            private_email: newer.private_email || (newer.email.is_none() && self.private_email),
            email: newer.email.or_else(|| self.email.clone()),
            name: newer.name.or_else(|| self.name.clone()),
        }
    }
}

/// The name in what Apple posts beside the code on a person's first consent:
/// `{"name":{"firstName":…,"lastName":…},"email":…}`. It is not signed, so nothing but the name is taken from it.
/// Source: <https://developer.apple.com/documentation/signinwithapplerestapi>.
#[must_use]
pub fn first_consent_name(user: &str) -> Option<String> {
    let user: Value = serde_json::from_str(user).ok()?;
    let part = |name: &str| user.get("name")?.get(name).and_then(text);
    let parts: Vec<_> = ["firstName", "lastName"].into_iter().filter_map(part).collect();
    Some(parts.join(" ")).filter(|name| !name.is_empty())
}

/// A text or number, without white space around it. Too long or empty is as good as none.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text.len() <= TEXT_LIMIT).then_some(text)
}

/// A boolean, which Apple and AWS Cognito write as text.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Option<Account> {
        Account::of_claims(value.as_object().unwrap())
    }

    #[test]
    fn f21_sub_is_the_key_and_apple_writes_booleans_as_text() {
        let account = claims(&json!({
            "sub": "001.a", "email": "x@privaterelay.appleid.com", "email_verified": "true", "is_private_email": "true"
        }))
        .unwrap();
        assert_eq!((account.email_verified, account.private_email), (Some(true), true));
        assert_eq!(claims(&json!({ "email": "a@example.com" })), None);
        assert_eq!(claims(&json!({ "sub": "" })), None);
        assert_eq!(claims(&json!({ "sub": 17 })).unwrap().sub, "17");
    }

    #[test]
    fn f5_absence_never_erases() {
        let first = Account {
            sub: "1".into(),
            email: Some("a@example.com".into()),
            email_verified: Some(true),
            private_email: true,
            name: Some("Ada".into()),
        };
        let bare = Account { sub: "1".into(), ..Account::default() };
        assert_eq!(first.renewed(bare), first);
        // Another address is not verified because the old one was.
        let moved = Account { sub: "1".into(), email: Some("b@example.com".into()), ..Account::default() };
        let after = first.renewed(moved);
        assert_eq!((after.email.as_deref(), after.email_verified), (Some("b@example.com"), None));
        assert_eq!((after.private_email, after.name.as_deref()), (false, Some("Ada")));
    }

    #[test]
    fn f5_names_of_a_first_consent_may_be_partial() {
        for (user, expected) in [
            (r#"{"name":{"firstName":"Ada","lastName":"Byron"},"email":"a@example.com"}"#, Some("Ada Byron")),
            (r#"{"name":{"firstName":"Ada"}}"#, Some("Ada")),
            (r#"{"name":{"firstName":"","lastName":" "}}"#, None),
            (r#"{"email":"a@example.com"}"#, None),
            ("not json", None),
        ] {
            assert_eq!(first_consent_name(user).as_deref(), expected, "{user}");
        }
    }

    #[test]
    fn a_profile_names_the_account_by_pointers() {
        let profile: Profile = serde_json::from_value(json!({
            "sub": ["/team/id", "/authed_user/id"], "email": "/email", "name": "/name"
        }))
        .unwrap();
        let document =
            json!({ "team": { "id": "T1" }, "authed_user": { "id": "U1" }, "email": "a@example.com" });
        let account = Account::of_profile(&profile, &document).unwrap();
        assert_eq!((account.sub.as_str(), account.email.as_deref()), ("T1:U1", Some("a@example.com")));
        assert_eq!(Account::of_profile(&profile, &json!({ "team": { "id": "T1" } })), None);
    }
}
