//! Cases R2, R6 to R11, R16 and R18 of the research, by our own clock.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::*;
use crate::connection::samples::idp;
use crate::{
    ConnectionId, CredentialId, Secret,
    connection::{account::Account, history::RefreshHistory, token::Grant},
};

pub(in crate::connection) fn start() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MINUTE: Duration = Duration::from_mins(1);

pub(in crate::connection) fn connection(lifetime: Option<Duration>) -> Connection {
    Connection {
        id: ConnectionId::new(start(), [1; 10]),
        tenant_id: "acme".parse().unwrap(),
        idp: "example".parse().unwrap(),
        credential_id: CredentialId::new(start(), [2; 10]),
        operator_idp: false,
        user_id: "u_1".into(),
        status: Status::Active,
        account: Account { sub: "1".into(), ..Account::default() },
        scopes: vec!["a".into()],
        requested_scopes: vec!["a".into(), "b".into()],
        refreshable: true,
        refresh: RefreshMode::Auto,
        generation: 1,
        token_type: "Bearer".into(),
        token_issued_at: start(),
        token_expires_at: lifetime.map(|lifetime| start() + lifetime),
        grant_expires_at: None,
        refreshes: RefreshHistory::default(),
        authorized_at: start(),
        last_refreshed_at: None,
        next_refresh_at: None,
        last_token_at: None,
        last_error: None,
        failures: 0,
        failing_since: None,
        refused_since: None,
        grant_slides: false,
        failing_announced: false,
        lost_at: None,
        expiry_announced_days: None,
        revoked_by: None,
        label: None,
        metadata: BTreeMap::new(),
        extra: Map::new(),
        created_at: start(),
        updated_at: start(),
        changes: 0,
        announcements: vec![],
    }
}

fn events(connection: &Connection) -> Vec<&'static str> {
    connection.announcements.iter().map(|one| one.event.as_str()).collect()
}

fn error(code: &str, status: u16) -> IdpError {
    IdpError { code: Some(code.to_owned()), subcode: None, status: Some(status) }
}

fn lost() -> TokenOutcome {
    TokenOutcome::Later { error: IdpError::default(), wait: None, may_have_run: true }
}

#[test]
fn r16_the_margin_is_five_minutes_or_a_fifth() {
    for (lifetime, expected) in [(3600, 300), (1500, 300), (600, 120), (60, 12), (0, 0)] {
        assert_eq!(margin(Duration::from_secs(lifetime)), Duration::from_secs(expected), "{lifetime}");
    }
}

#[test]
fn r10_r18_what_is_used_is_refreshed_ahead_and_the_rest_daily() {
    let day = start() + DAY.mul_f64(0.9);
    let ahead = start() + Duration::from_mins(55);
    let used = Some(start());
    let ten_minutes = Duration::from_mins(10);
    for (row, mode, last_token_at, lifetime, expected) in [
        (json!({}), RefreshMode::Auto, None, HOUR, day),
        (json!({}), RefreshMode::Auto, used, HOUR, ahead),
        (json!({}), RefreshMode::OnDemand, used, HOUR, day),
        (json!({}), RefreshMode::Ahead, None, HOUR, ahead),
        // R18: Apple limits refreshes to one a day.
        (json!({ "pace": "daily" }), RefreshMode::Ahead, used, HOUR, day),
        // F10 of section 5: ten-minute tokens that rotate would take 144 versions a day.
        (json!({ "rotation": "rotates" }), RefreshMode::Ahead, used, ten_minutes, day),
        (json!({}), RefreshMode::Auto, used, ten_minutes, start() + Duration::from_mins(8)),
        // So would those of 20 minutes, with the connections spread; of 22 minutes there are 96 at most.
        (json!({ "rotation": "rotates" }), RefreshMode::Auto, used, ten_minutes * 2, day),
        (
            json!({ "rotation": "rotates" }),
            RefreshMode::Auto,
            used,
            MINUTE * 22,
            start() + MINUTE * 22 - MINUTE * 22 / 5,
        ),
        // A token that outlives a day does not put the keep-alive off.
        (json!({}), RefreshMode::Auto, used, DAY * 30, day),
    ] {
        let connection = Connection { refresh: mode, last_token_at, ..connection(Some(lifetime)) };
        assert_eq!(connection.next_due(&idp(row.clone()), start(), 0.0), Some(expected), "{row} {mode}");
    }
    // R14: a lifetime that is not known.
    assert_eq!(connection(None).next_due(&idp(json!({})), start(), 0.0), Some(day));
}

#[test]
fn jitter_spreads_connections_and_never_passes_the_margin() {
    let used = Connection { last_token_at: Some(start()), ..connection(Some(HOUR)) };
    for jitter in [0.0, 0.3, 1.0, 7.0, -1.0] {
        let due = used.next_due(&idp(json!({})), start(), jitter).unwrap();
        assert!(
            due <= start() + Duration::from_mins(55) && due >= start() + Duration::from_mins(49),
            "{jitter}"
        );
    }
}

#[test]
fn r6_r7_faults_are_failing_and_never_reauthorize() {
    let outcomes = [
        (lost(), ErrorCode::IdpUnavailable),
        (TokenOutcome::ClientRefused(error("invalid_client", 401)), ErrorCode::CredentialsInvalid),
        (TokenOutcome::Refused(error("invalid_scope", 400)), ErrorCode::UnknownIdpError),
        (
            TokenOutcome::Later { error: error("x", 429), wait: Some(DAY), may_have_run: false },
            ErrorCode::IdpRateLimited,
        ),
    ];
    for (outcome, code) in outcomes {
        let mut connection = connection(Some(HOUR));
        let mut now = start();
        for _ in 0..10 {
            connection.note_failure(&idp(json!({})), &outcome, now, 0.5);
            assert_eq!(connection.status, Status::Failing, "{outcome:?}");
            assert_eq!(connection.last_error.as_ref().unwrap().code, code);
            let next = connection.next_refresh_at.unwrap();
            assert!(next > now);
            if code == ErrorCode::IdpRateLimited {
                assert!(next >= now + DAY, "Retry-After is honoured");
            }
            now = next;
            if now.since(start()) > UNKNOWN_PATIENCE {
                break;
            }
        }
        // Announced once, and only after an hour without a token.
        assert_eq!(events(&connection), ["failing"], "{outcome:?}");
    }
}

#[test]
fn r8_an_unknown_refusal_ends_the_grant_after_four_days() {
    let mut connection = connection(Some(HOUR));
    let outcome = TokenOutcome::Refused(error("invalid_code", 400));
    connection.note_failure(&idp(json!({})), &outcome, start(), 0.5);
    connection.note_failure(&idp(json!({})), &outcome, start() + DAY * 3, 0.5);
    assert_eq!(connection.status, Status::Failing);
    connection.note_failure(&idp(json!({})), &outcome, start() + DAY * 4, 0.5);
    assert_eq!(connection.status, Status::Reauthorize);
    let last = connection.last_error.unwrap();
    assert_eq!((last.code, last.idp_error.as_deref()), (ErrorCode::UnknownIdpError, Some("invalid_code")));
}

#[test]
fn r2_a_lost_response_of_a_rotating_token_is_retried_once_within_15_seconds() {
    let rotating = idp(json!({ "rotation": "rotates" }));
    let mut one = connection(Some(HOUR));
    one.note_failure(&rotating, &lost(), start(), 1.0);
    let pause = one.next_refresh_at.unwrap().since(start());
    assert!(pause >= Duration::from_secs(5) && pause <= Duration::from_secs(15), "{pause:?}");
    assert_eq!(one.due_step(start() + pause), DueStep::Refresh);
    // Then it is known to be dead, and why.
    let mut dead = one.clone();
    dead.note_failure(&rotating, &TokenOutcome::Dead(error("invalid_grant", 400)), start() + pause, 0.5);
    assert_eq!((dead.status, dead.last_error.unwrap().code), (Status::Reauthorize, ErrorCode::ResponseLost));
    // A second one is a failure like others.
    one.note_failure(&rotating, &lost(), start() + pause, 0.5);
    assert!(one.next_refresh_at.unwrap().since(start() + pause) >= Duration::from_mins(4));
    // A provider that keeps its tokens loses nothing.
    let mut keeping = connection(Some(HOUR));
    keeping.note_failure(&idp(json!({})), &lost(), start(), 0.5);
    assert_eq!((keeping.lost_at, keeping.next_refresh_at), (None, Some(start() + Duration::from_mins(1))));
}

#[test]
fn r9_a_dead_grant_has_a_reason() {
    let testing = idp(json!({ "testing_lifetime_secs": 604_800 }));
    let dead = TokenOutcome::Dead(error("invalid_grant", 400));
    for (row, after, expected) in [
        (&testing, DAY * 7 + HOUR, ErrorCode::TestingMode),
        (&testing, DAY * 6, ErrorCode::GrantRevoked),
        (&testing, DAY * 30, ErrorCode::GrantRevoked),
        (&idp(json!({})), DAY * 7, ErrorCode::GrantRevoked),
    ] {
        let mut connection = connection(Some(HOUR));
        connection.note_failure(row, &dead, start() + after, 0.5);
        assert_eq!(connection.last_error.as_ref().unwrap().code, expected, "{after:?}");
        assert_eq!(
            (connection.status, connection.next_due(row, start() + after, 0.5)),
            (Status::Reauthorize, None)
        );
        assert_eq!(events(&connection), ["reauthorize"]);
    }
    let mut ended = Connection { grant_expires_at: Some(start() + DAY), ..connection(Some(HOUR)) };
    ended.note_failure(&testing, &dead, start() + DAY, 0.5);
    assert_eq!(ended.last_error.unwrap().code, ErrorCode::GrantExpired);
}

#[test]
fn r11_r12_the_end_of_a_grant_is_announced_14_and_3_days_before() {
    let row = idp(json!({ "rotation": "none" }));
    let mut one = Connection { refreshable: false, ..connection(Some(DAY * 60)) };
    let mut now = start();
    let mut announced = vec![];
    while let Some(due) = one.next_due(&row, now, 0.5) {
        now = due;
        one.next_refresh_at = Some(due);
        if one.due_step(now) == DueStep::End {
            one.end(ErrorCode::GrantExpired, &IdpError::default(), now);
        }
        one.announce_due(now);
        announced.extend(
            one.announcements.drain(..).map(|one| (one.event, now.since(start()).as_secs() / 86_400)),
        );
    }
    let expected = [
        (ConnectionEvent::Expiring, 46),
        (ConnectionEvent::Expiring, 57),
        (ConnectionEvent::Reauthorize, 60),
    ];
    assert_eq!(announced, expected);
    // After an outage the nearest notice counts, once.
    let mut late = Connection { refreshable: false, ..connection(Some(DAY * 60)) };
    late.announce_due(start() + DAY * 58);
    late.announce_due(start() + DAY * 58);
    assert_eq!((events(&late), late.expiry_announced_days), (vec!["expiring"], Some(3)));
    // A grant of an hour is not announced as it is made.
    let mut short = Connection { refreshable: false, ..connection(Some(HOUR)) };
    short.announce_due(start());
    assert!(short.announcements.is_empty());
}

#[test]
fn r4_a_grant_without_a_refresh_token_keeps_what_there_is() {
    let mut one = connection(Some(HOUR));
    one.note_failure(&idp(json!({})), &lost(), start(), 0.5);
    let grant = Grant {
        access_token: Secret::new("a".into()),
        token_type: "bearer".into(),
        expires_in: Some(HOUR),
        refresh_token: None,
        refresh_expires_in: None,
        scopes: None,
        id_token: None,
        extra: Map::new(),
        account: None,
    };
    let now = start() + HOUR;
    one.take_grant(&grant, 0, now);
    assert!(one.refreshable);
    assert_eq!((one.generation, one.token_expires_at), (2, Some(now + HOUR)));
    assert_eq!((one.failures, one.failing_since, &one.last_error), (0, None, &None));
    assert_eq!(one.scopes, ["a"]);
    assert!(one.announcements.is_empty());
    // Other scopes are announced, the same in another order are not.
    one.take_grant(&Grant { scopes: Some(vec!["b".into(), "a".into()]), ..grant.clone() }, 0, now);
    one.take_grant(&Grant { scopes: Some(vec!["a".into(), "b".into()]), ..grant }, 0, now);
    assert_eq!(events(&one), ["scopes_changed"]);
}

#[test]
fn f17_missing_scopes_are_those_asked_for_and_not_granted() {
    let google = |scope: &str| format!("https://www.googleapis.com/auth/userinfo.{scope}");
    let one = Connection {
        scopes: vec!["openid".into(), google("email"), "calendar".into()],
        requested_scopes: ["openid", "email", "profile", "calendar", "mail", "offline_access"]
            .map(str::to_owned)
            .into(),
        ..connection(Some(HOUR))
    };
    assert_eq!(one.missing_scopes(), ["profile", "mail"]);
}

#[test]
fn f1_what_is_not_confirmed_in_time_is_revoked() {
    let row = idp(json!({}));
    let mut one = Connection { status: Status::Pending, ..connection(Some(HOUR)) };
    let due = one.next_due(&row, start(), 0.5).unwrap();
    assert_eq!(due, start() + CONFIRMATION_TIME);
    assert_eq!((one.due_step(start()), one.due_step(due)), (DueStep::Nothing, DueStep::Revoke));
    one.revoke(RevokedBy::Timeout, due);
    one.revoke(RevokedBy::Request, due);
    assert_eq!((one.revoked_by, events(&one)), (Some(RevokedBy::Timeout), vec!["revoked"]));
    let end = due + DAY * 30;
    assert_eq!(one.next_due(&row, due, 0.5), Some(end));
    assert_eq!((one.due_step(due), one.due_step(end)), (DueStep::Nothing, DueStep::Forget));
}

/// Refreshes of one connection in a month of 30 days, by the rules.
fn refreshes_of_a_month(mode: RefreshMode, is_used: bool) -> u64 {
    let row = idp(json!({}));
    let mut one = Connection { refresh: mode, ..connection(Some(HOUR)) };
    let (mut now, mut count) = (start(), 0);
    loop {
        one.last_token_at = is_used.then_some(now);
        let due = one.next_due(&row, now, 0.5).unwrap();
        one.next_refresh_at = Some(due);
        assert_eq!(one.due_step(due), DueStep::Refresh);
        if due >= start() + DAY * 30 {
            return count;
        }
        now = due;
        count += 1;
        one.generation += 1;
        one.token_issued_at = now;
        one.token_expires_at = Some(now + HOUR);
        one.last_refreshed_at = Some(now);
    }
}

#[test]
fn the_bill_in_the_documents_is_that_of_the_rules() {
    let page = include_str!("../../../../docs/internals/connections.md");
    let grouped = |number: u64| {
        let digits = number.to_string();
        let from_end = digits.bytes().rev().enumerate().fold(String::new(), |mut text, (place, digit)| {
            if place > 0 && place % 3 == 0 {
                text.push(',');
            }
            text.push(char::from(digit));
            text
        });
        from_end.chars().rev().collect::<String>()
    };
    let ahead = 10_000 * refreshes_of_a_month(RefreshMode::Ahead, false);
    let used = refreshes_of_a_month(RefreshMode::Auto, true);
    let auto = 1_000 * used + 9_000 * refreshes_of_a_month(RefreshMode::Auto, false);
    let row = format!("| refreshes | {} | {} |", grouped(ahead), grouped(auto));
    assert!(page.contains(&row), "{row}");
    // Six writes a refresh at $0.625 a million, in cents.
    let cents = |refreshes: u64| (refreshes * 6 * 625 + 5_000_000) / 10_000_000;
    let dollars = |refreshes| format!("${}.{:02}", cents(refreshes) / 100, cents(refreshes) % 100);
    let row = format!("at 6 a refresh | {} | {} |", dollars(ahead), dollars(auto));
    assert!(page.contains(&row), "{row}");
}

proptest::proptest! {
    /// Whatever happens in whatever order: an active or failing connection that can be refreshed is always due again,
    /// and only a dead grant, four days of unknown refusals or the grant's end lead to the person.
    #[test]
    fn no_connection_is_forgotten(steps in proptest::collection::vec((0u8..5, 1u32..100_000), 1..60)) {
        let row = idp(json!({ "rotation": "rotates" }));
        let mut one = connection(Some(HOUR));
        let mut now = start();
        for (kind, pause) in steps {
            now = now + Duration::from_secs(pause.into());
            let outcome = match kind {
                0 => lost(),
                1 => TokenOutcome::ClientRefused(error("invalid_client", 401)),
                2 => TokenOutcome::Later { error: error("x", 429), wait: None, may_have_run: false },
                3 => TokenOutcome::Later { error: error("x", 503), wait: Some(DAY), may_have_run: true },
                _ => {
                    one.status = Status::Active;
                    one.failing_since = None;
                    one.last_refreshed_at = Some(now);
                    continue;
                }
            };
            one.note_failure(&row, &outcome, now, 0.5);
            proptest::prop_assert_eq!(one.status, Status::Failing);
            proptest::prop_assert!(one.next_due(&row, now, 0.5).is_some_and(|due| due <= now + DAY * 2));
        }
    }
}

#[test]
fn r10_a_refresh_token_that_ends_soon_is_used_before_and_its_moving_end_is_no_news() {
    let row = idp(json!({}));
    let minutes = Duration::from_mins(30);
    let mut one =
        Connection { grant_expires_at: Some(start() + minutes), ..connection(Some(Duration::from_mins(5))) };
    let due = one.next_due(&row, start(), 0.0).unwrap();
    assert_eq!(due, start() + Duration::from_mins(25));
    let grant = Grant {
        access_token: Secret::new("a".into()),
        token_type: "bearer".into(),
        expires_in: None,
        refresh_token: None,
        refresh_expires_in: Some(DAY * 60),
        scopes: None,
        id_token: None,
        extra: Map::new(),
        account: None,
    };
    one.take_grant(&grant, 7, due);
    assert_eq!((one.generation, one.grant_slides), (8, true));
    // R14: what can be refreshed is not taken to live for ever.
    assert_eq!(one.token_expires_at, Some(due + HOUR));
    one.announce_due(due + DAY * 59);
    assert!(one.announcements.is_empty());
}

#[test]
fn r8_four_days_are_counted_from_the_first_refusal_and_not_from_an_outage() {
    let mut one = connection(Some(HOUR));
    let refused = TokenOutcome::Refused(error("invalid_scope", 400));
    one.note_failure(&idp(json!({})), &lost(), start(), 0.5);
    one.note_failure(&idp(json!({})), &refused, start() + DAY * 5, 0.5);
    assert_eq!(one.status, Status::Failing);
    one.note_failure(&idp(json!({})), &lost(), start() + DAY * 7, 0.5);
    one.note_failure(&idp(json!({})), &refused, start() + DAY * 10, 0.5);
    assert_eq!(one.status, Status::Failing);
    one.note_failure(&idp(json!({})), &refused, start() + DAY * 14, 0.5);
    assert_eq!(one.status, Status::Reauthorize);
}

#[test]
fn a_connection_that_is_due_is_refreshed_and_not_drawn_again() {
    let row = idp(json!({}));
    let mut one = connection(Some(HOUR));
    for jitter in [0.0, 0.5, 1.0] {
        let due = one.next_due(&row, start(), jitter).unwrap();
        one.next_refresh_at = Some(due);
        assert_eq!(one.due_step(due), DueStep::Refresh, "{jitter}");
        assert_eq!(one.due_step(due - HOUR), DueStep::Refresh, "its token has expired");
    }
}
