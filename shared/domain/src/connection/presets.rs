//! The identity providers that ship: one file of JSON each. A deployment or a tenant adds its client id and secret.
//!
//! A provider is added by its file and its line in [`FILES`]. No row is parsed before it is used.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::Idp;

/// A provider's row, and what one must know to set it up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name in URLs.
    pub name: String,
    /// Whether each field was confirmed by the provider's documentation.
    pub confirmed: bool,
    /// What to enter where at the provider, step by step.
    pub setup: Vec<String>,
    /// What to know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The row.
    pub row: Idp,
}

/// The names of all presets, each with its file.
const FILES: &[(&str, &str)] = &[
    ("apple", include_str!("idps/apple.json")),
    ("calendly", include_str!("idps/calendly.json")),
    ("dropbox", include_str!("idps/dropbox.json")),
    ("github", include_str!("idps/github.json")),
    ("google", include_str!("idps/google.json")),
    ("hubspot", include_str!("idps/hubspot.json")),
    ("linkedin", include_str!("idps/linkedin.json")),
    ("mailchimp", include_str!("idps/mailchimp.json")),
    ("microsoft", include_str!("idps/microsoft.json")),
    ("salesforce", include_str!("idps/salesforce.json")),
    ("slack", include_str!("idps/slack.json")),
    ("trestle", include_str!("idps/trestle.json")),
    ("zoom", include_str!("idps/zoom.json")),
];

static PRESETS: [OnceLock<Option<Preset>>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];

/// The preset of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    let index = FILES.binary_search_by_key(&name, |(name, _)| name).ok()?;
    // A malformed file is found by the tests.
    PRESETS[index].get_or_init(|| serde_json::from_str(FILES[index].1).ok()).as_ref()
}

/// All presets, by name.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    FILES.iter().filter_map(|(name, _)| find(name))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{
        super::idp::{
            ClientAuth, GrantType, IdpName, NonceRule, ProfileAuth, RefreshPace, ResponseMode, RevokeForm,
            RevokedToken, Rotation, TokenAlgorithm,
        },
        *,
    };
    use crate::endpoint::egress::Allow;

    fn row(name: &str) -> &'static Idp {
        &find(name).unwrap().row
    }

    #[test]
    fn each_file_is_a_row_that_a_tenant_could_configure() {
        for (name, json) in FILES {
            let preset: Preset =
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}.json: {error}"));
            assert_eq!(preset.name, *name);
            assert!(name.parse::<IdpName>().is_ok(), "{name}");
            assert_eq!(preset.row.violations(&Allow::default()), [], "{name}");
            assert!(preset.row.docs.starts_with("https://"), "{name}");
        }
    }

    #[test]
    fn each_file_says_what_to_enter_where() {
        for preset in all() {
            let name = &preset.name;
            let places = preset.setup.iter().filter(|step| step.contains("{redirect_uri}")).count();
            let expected = usize::from(preset.row.grant == GrantType::AuthorizationCode);
            assert_eq!(places, expected, "{name} names the redirect URI in one step, if there is one");
            for sentence in preset.setup.iter().chain(&preset.notes) {
                assert!(sentence.ends_with('.') && sentence.trim() == sentence, "{name}: {sentence}");
                let without_places = sentence.replace("{redirect_uri}", "");
                assert!(!without_places.contains(['{', '}']), "{name}: {sentence}");
            }
        }
    }

    #[test]
    fn the_list_has_each_file_of_the_folder_once_and_sorted() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/connection/idps");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|file| file.strip_suffix(".json").unwrap().to_owned())
            .collect();
        let listed: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, files.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(listed, all().map(|preset| preset.name.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_preset_is_not_found() {
        for name in ["", "Google", "google ", "goog", "zzz", "aaa"] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_preset_is_stored_as_it_was_read() {
        for preset in all() {
            let stored = serde_json::to_string(preset).unwrap();
            let again: Preset = serde_json::from_str(&stored).unwrap();
            assert_eq!(again.row, preset.row, "{}", preset.name);
        }
    }

    #[test]
    fn r4_a_refresh_token_that_each_refresh_replaces_is_known_as_such() {
        let with = |rotation: Rotation| -> Vec<&str> {
            all()
                .filter(|preset| preset.row.rotation == rotation)
                .map(|preset| preset.name.as_str())
                .collect()
        };
        assert_eq!(with(Rotation::Keeps), ["apple", "dropbox", "google", "hubspot", "linkedin", "trestle"]);
        assert_eq!(with(Rotation::Rotates), ["calendly", "github", "salesforce", "slack", "zoom"]);
        assert_eq!(with(Rotation::Renews), ["microsoft"]);
        assert_eq!(with(Rotation::None), ["mailchimp"]);
    }

    #[test]
    fn r8_other_words_for_a_dead_grant() {
        assert_eq!(row("github").dead_codes, ["bad_refresh_token"]);
        assert_eq!(row("hubspot").dead_codes, ["bad_refresh_token", "BAD_REFRESH_TOKEN"]);
        assert_eq!(row("microsoft").dead_codes, ["interaction_required"]);
        assert_eq!(row("slack").dead_codes, ["invalid_refresh_token", "token_revoked", "account_inactive"]);
        for preset in all() {
            // These say that our own credential or request is wrong, and never that a person withdrew.
            for ours in ["invalid_client", "unauthorized_client", "invalid_request"] {
                assert!(!preset.row.dead_codes.iter().any(|code| code == ours), "{}: {ours}", preset.name);
            }
        }
    }

    #[test]
    fn r13_google_asks_for_consent_while_no_refresh_token_is_held() {
        let google = row("google");
        assert_eq!(google.authorize_parameters["access_type"], "offline");
        assert_eq!(google.authorize_parameters.get("prompt"), None);
        assert_eq!(google.first_authorize_parameters["prompt"], "consent");
    }

    #[test]
    fn r13_a_refresh_token_is_asked_for() {
        assert_eq!(row("dropbox").authorize_parameters["token_access_type"], "offline");
        assert!(row("microsoft").base_scopes.iter().any(|scope| scope == "offline_access"));
        assert!(row("salesforce").base_scopes.iter().any(|scope| scope == "refresh_token"));
    }

    #[test]
    fn r14_salesforce_lifetime() {
        assert_eq!(row("salesforce").lifetime_secs, Some(7200));
        assert_eq!(row("salesforce").keep, ["instance_url", "id"]);
    }

    #[test]
    fn r18_apple_is_refreshed_once_a_day_at_most() {
        for preset in all() {
            let expected = if preset.name == "apple" { RefreshPace::Daily } else { RefreshPace::Ahead };
            assert_eq!(preset.row.pace, expected, "{}", preset.name);
        }
    }

    #[test]
    fn f3_apple_form_post() {
        for preset in all() {
            let expected = if preset.name == "apple" { ResponseMode::FormPost } else { ResponseMode::Query };
            assert_eq!(preset.row.response_mode, expected, "{}", preset.name);
        }
    }

    #[test]
    fn f7_linkedin() {
        let linkedin = row("linkedin");
        assert_eq!((linkedin.pkce, linkedin.auth), (false, ClientAuth::Post));
        assert_eq!(linkedin.openid.as_ref().unwrap().nonce, NonceRule::Optional);
    }

    #[test]
    fn f12_microsoft_issuer_template() {
        let with_template = |preset: &Preset| {
            preset.row.openid.as_ref().is_some_and(|openid| openid.issuer.contains("{tenantid}"))
        };
        assert_eq!(
            all().filter(|preset| with_template(preset)).map(|preset| &preset.name).collect::<Vec<_>>(),
            ["microsoft"]
        );
        assert_eq!(
            row("microsoft").openid.as_ref().unwrap().issuer,
            "https://login.microsoftonline.com/{tenantid}/v2.0"
        );
    }

    #[test]
    fn f13_the_issuer_is_required_where_the_metadata_promises_it() {
        let required: Vec<&str> =
            all().filter(|preset| preset.row.requires_iss).map(|preset| preset.name.as_str()).collect();
        assert_eq!(required, ["google"]);
    }

    #[test]
    fn f15_only_rsa_signatures_are_accepted() {
        for openid in all().filter_map(|preset| preset.row.openid.as_ref()) {
            assert_eq!(openid.algorithms, [TokenAlgorithm::Rs256], "{}", openid.issuer);
        }
    }

    #[test]
    fn f16_other_words_for_a_refusal() {
        assert_eq!(row("apple").denied_codes, ["user_cancelled_authorize"]);
        assert_eq!(row("linkedin").denied_codes, ["user_cancelled_login", "user_cancelled_authorize"]);
        assert_eq!(row("microsoft").denied_codes, ["consent_required"]);
    }

    #[test]
    fn f19_google_adds_scopes_to_a_grant() {
        assert_eq!(row("google").authorize_parameters["include_granted_scopes"], "true");
        let adding: Vec<&str> =
            all().filter(|preset| !preset.row.replaces_scopes).map(|preset| preset.name.as_str()).collect();
        assert_eq!(adding, ["google"]);
    }

    #[test]
    fn f24_apple_signs_its_secret() {
        for preset in all() {
            let is_signed = preset.row.auth == ClientAuth::SignedSecret;
            assert_eq!(is_signed, preset.name == "apple", "{}", preset.name);
        }
    }

    #[test]
    fn f25_hubspot_without_the_endpoints_that_end() {
        let file = FILES.iter().find(|(name, _)| *name == "hubspot").unwrap().1;
        assert!(!file.contains("/oauth/v1/"));
        assert_eq!(row("hubspot").token_url, "https://api.hubapi.com/oauth/2026-03/token");
    }

    #[test]
    fn f26_revocations() {
        let refresh = RevokedToken::Refresh;
        let access = RevokedToken::Access;
        let expected = [
            ("apple", Some((RevokeForm::Form, refresh, true))),
            ("calendly", Some((RevokeForm::Form, refresh, false))),
            ("dropbox", Some((RevokeForm::Bearer, access, false))),
            ("github", Some((RevokeForm::DeleteJson, access, true))),
            ("google", Some((RevokeForm::FormWithoutClient, refresh, true))),
            ("hubspot", Some((RevokeForm::Form, refresh, false))),
            ("linkedin", None),
            ("mailchimp", None),
            ("microsoft", None),
            ("salesforce", Some((RevokeForm::FormWithoutClient, refresh, false))),
            ("slack", Some((RevokeForm::Bearer, access, true))),
            ("trestle", None),
            ("zoom", Some((RevokeForm::Form, access, false))),
        ];
        let found = all().map(|preset| {
            let revocation = preset.row.revocation.as_ref();
            (preset.name.as_str(), revocation.map(|by| (by.form, by.token, by.ends_grant)))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let places = |name: &str| row(name).revocation.as_ref().unwrap().url.contains("{client_id}");
        assert!(places("github") && !places("google"));
    }

    #[test]
    fn the_account_is_named_where_there_is_no_id_token() {
        let sub = |name: &str| row(name).profile.as_ref().unwrap().sub.clone();
        assert_eq!(sub("slack"), ["/team/id"]);
        assert_eq!(sub("hubspot"), ["/hub_id", "/user_id"]);
        assert_eq!(sub("salesforce"), ["/organization_id", "/user_id"]);
        for (name, auth) in [("dropbox", ProfileAuth::BearerPost), ("mailchimp", ProfileAuth::OauthScheme)] {
            assert_eq!(row(name).profile.as_ref().unwrap().auth, auth, "{name}");
        }
        for pointer in all().filter_map(|preset| preset.row.profile.as_ref()).flat_map(|profile| {
            let others = [&profile.email, &profile.email_verified, &profile.name];
            profile.sub.iter().chain(others.into_iter().flatten())
        }) {
            assert!(pointer.starts_with('/'), "{pointer}");
        }
    }

    #[test]
    fn what_api_calls_require_is_kept_and_is_no_token() {
        assert_eq!(row("mailchimp").profile.as_ref().unwrap().keep, ["dc", "api_endpoint"]);
        assert_eq!(row("slack").keep, ["team", "enterprise", "bot_user_id", "app_id"]);
        for preset in all() {
            // Slack's `authed_user` has a token of its own.
            for secret in ["access_token", "refresh_token", "id_token", "authed_user"] {
                assert!(!preset.row.keep.iter().any(|name| name == secret), "{}: {secret}", preset.name);
            }
        }
    }
}
