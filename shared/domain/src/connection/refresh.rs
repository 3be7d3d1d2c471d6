//! When a connection is refreshed, and what the outcome leads to.

use std::time::Duration;

use super::{
    history::{RefreshOutcome, RefreshRecord},
    idp::{Idp, RefreshPace, Rotation},
    record::{Connection, ConnectionEvent, ErrorCode, LastError, RefreshMode, RevokedBy, Status},
    token::{IdpError, TokenOutcome},
};
use crate::{Timestamp, pool::VERSIONS_A_DAY};

/// The longest margin before a token expires.
const LONGEST_MARGIN: Duration = Duration::from_mins(5);

/// What is not asked for this long is kept alive once a day and no more often.
const IN_USE: Duration = Duration::from_hours(24);

/// How often a connection is refreshed that nothing asks for. Unused refresh tokens end, after 60 days at the
/// earliest, and a refresh finds a revoked grant.
const KEEP_ALIVE: Duration = Duration::from_hours(24);

/// The least time between two refreshes ahead of a token that rotates: each takes a version of a secret, which has about
/// a hundred a day. Tokens that live too short for that, up to 21 minutes, are refreshed on demand only.
const BETWEEN_VERSIONS: Duration = Duration::from_secs(86_400 / VERSIONS_A_DAY as u64);

/// By how much of its life a token is refreshed earlier than its margin at most, so that connections that were made
/// together are not refreshed together.
const SPREAD: f64 = 0.1;

/// How long refreshes may fail for unknown reasons before the person is asked. As long as a provider's longest outage.
const UNKNOWN_PATIENCE: Duration = Duration::from_hours(4 * 24);

/// How long there may be no valid token before that is announced.
const FAILING_NOTICE: Duration = Duration::from_hours(1);

/// Days before the end of a grant at which that is announced, the last one first.
const EXPIRY_NOTICES: [u32; 2] = [3, 14];

/// How long a connection waits for its confirmation.
pub const CONFIRMATION_TIME: Duration = Duration::from_mins(30);

/// How long a connection that was ended can be read.
const REVOKED_KEPT: Duration = Duration::from_hours(30 * 24);

/// How near to the age of a testing client's grant its end must be to be taken for that.
const TESTING_TOLERANCE: Duration = Duration::from_hours(6);

/// How long after a lost response the same token is tried once more. Providers that allow for it keep the old token
/// for 15 s at least; a shorter pause than 5 s would meet the same fault.
const AFTER_LOST_RESPONSE: Duration = Duration::from_secs(5);
const AFTER_LOST_RESPONSE_SPREAD: Duration = Duration::from_secs(8);

/// Pauses after failures, one after the other; the last one is repeated.
const PAUSES: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_mins(5), Duration::from_mins(30), Duration::from_hours(2)];

/// How long before it expires a token is replaced: five minutes, or a fifth of its life.
#[must_use]
pub fn margin(lifetime: Duration) -> Duration {
    LONGEST_MARGIN.min(lifetime / 5)
}

impl Connection {
    /// How long its present token lives from its issue.
    #[must_use]
    pub fn token_lifetime(&self) -> Option<Duration> {
        self.token_expires_at.map(|end| end.since(self.token_issued_at))
    }

    /// Whether the present token is near its end, or has no known one and is old.
    #[must_use]
    pub fn is_near_expiry(&self, now: Timestamp) -> bool {
        self.token_lifetime().is_some_and(|lifetime| !self.has_token_until(now + margin(lifetime)))
    }

    /// Whether it is refreshed before its token expires.
    fn is_refreshed_ahead(&self, idp: &Idp, now: Timestamp) -> bool {
        let is_used = self.last_token_at.is_some_and(|at| now.since(at) < IN_USE);
        let is_asked_for = match self.refresh {
            RefreshMode::Ahead => true,
            RefreshMode::Auto => is_used,
            RefreshMode::OnDemand => false,
        };
        let shortest =
            |lifetime: Duration| lifetime.saturating_sub(margin(lifetime) + lifetime.mul_f64(SPREAD));
        let is_costly = idp.rotation == Rotation::Rotates
            && self.token_lifetime().is_some_and(|lifetime| shortest(lifetime) < BETWEEN_VERSIONS);
        is_asked_for && idp.pace == RefreshPace::Ahead && !is_costly
    }

    /// When something must be done about it next; `jitter` from 0 to 1 spreads connections that were made together.
    #[must_use]
    pub fn next_due(&self, idp: &Idp, now: Timestamp, jitter: f64) -> Option<Timestamp> {
        let jitter = jitter.clamp(0.0, 1.0);
        let soonest = now + Duration::from_secs(30);
        match self.status {
            Status::Revoked => Some((self.updated_at + REVOKED_KEPT).max(soonest)),
            Status::Pending => Some((self.created_at + CONFIRMATION_TIME).max(soonest)),
            Status::Reauthorize => None,
            Status::Failing => self.next_refresh_at.or(Some(soonest)),
            Status::Active => {
                let refresh = self.refreshable.then(|| self.refresh_due(idp, now, jitter));
                let end = (!self.refreshable).then_some(self.grant_end()).flatten();
                let due = [refresh, end, self.notice_due()].into_iter().flatten().min()?;
                Some(due.max(soonest))
            }
        }
    }

    fn refresh_due(&self, idp: &Idp, now: Timestamp, jitter: f64) -> Timestamp {
        let last = self.last_refreshed_at.unwrap_or(self.authorized_at).max(self.token_issued_at);
        let kept_alive = last + KEEP_ALIVE.mul_f64(0.9 + 0.1 * jitter);
        let ahead = self.token_lifetime().filter(|_| self.is_refreshed_ahead(idp, now)).map(|lifetime| {
            let early = margin(lifetime) + lifetime.mul_f64(SPREAD * jitter);
            self.token_issued_at + lifetime.saturating_sub(early)
        });
        // A refresh token of half an hour is used before it ends, whether tokens are asked for or not.
        let before_end = self.grant_expires_at.map(|end| end - margin(end.since(self.token_issued_at)));
        let due = ahead.map_or(kept_alive, |ahead| ahead.min(kept_alive));
        before_end.map_or(due, |end| end.min(due))
    }

    /// When its grant ends; without a refresh token that is when its access token does.
    #[must_use]
    pub fn grant_end(&self) -> Option<Timestamp> {
        if self.refreshable { self.grant_expires_at } else { self.grant_expires_at.or(self.token_expires_at) }
    }

    /// The next notice of the end of its grant: how many days before, and when. A grant shorter than twice the notice
    /// has none, or each would be announced as it is made.
    fn next_notice(&self) -> Option<(u32, Timestamp)> {
        let end = self.grant_end().filter(|_| !self.grant_slides)?;
        let life = end.since(self.authorized_at);
        let notices = EXPIRY_NOTICES.into_iter().rev().filter(|days| {
            life >= days_of(*days) * 2 && self.expiry_announced_days.is_none_or(|announced| *days < announced)
        });
        notices.map(|days| (days, end - days_of(days))).next()
    }

    fn notice_due(&self) -> Option<Timestamp> {
        self.next_notice().map(|(_, at)| at)
    }

    /// What is done when it is due.
    #[must_use]
    pub fn due_step(&self, now: Timestamp) -> DueStep {
        match self.status {
            Status::Revoked if now >= self.updated_at + REVOKED_KEPT => DueStep::Forget,
            Status::Pending if now >= self.created_at + CONFIRMATION_TIME => DueStep::Revoke,
            Status::Revoked | Status::Reauthorize | Status::Pending => DueStep::Nothing,
            Status::Failing if self.refreshable => {
                if self.next_refresh_at.is_none_or(|at| at <= now) {
                    DueStep::Refresh
                } else {
                    DueStep::Nothing
                }
            }
            Status::Active | Status::Failing if !self.refreshable => {
                if self.grant_end().is_some_and(|end| end <= now) { DueStep::End } else { DueStep::Nothing }
            }
            Status::Active | Status::Failing => {
                // A little early: the entry was found by a scheduler with a clock of its own.
                let soon = now + Duration::from_mins(1);
                // What was drawn counts: another draw would be later for most.
                let is_due = self.next_refresh_at.is_none_or(|at| at <= soon);
                if is_due || self.is_near_expiry(now) { DueStep::Refresh } else { DueStep::Nothing }
            }
        }
    }

    /// Announces what is due to be announced: the end of the grant, and an hour without a token.
    pub fn announce_due(&mut self, now: Timestamp) {
        if self.status == Status::Active
            && let Some((days, at)) = self.next_notice()
            && at <= now
        {
            // Where several are due, as after an outage, the nearest counts.
            let due = |days: &u32| self.grant_end().is_some_and(|end| end - days_of(*days) <= now);
            self.expiry_announced_days = EXPIRY_NOTICES.into_iter().find(due).or(Some(days));
            self.announce(ConnectionEvent::Expiring, now);
        }
        let without_token =
            self.failing_since.map(|since| self.token_expires_at.map_or(since, |end| end.max(since)));
        if self.status == Status::Failing
            && !self.failing_announced
            && without_token.is_some_and(|since| since + FAILING_NOTICE <= now)
        {
            self.failing_announced = true;
            self.announce(ConnectionEvent::Failing, now);
        }
    }

    /// Notes the outcome of a refresh that granted nothing. `jitter` is from 0 to 1.
    pub fn note_failure(&mut self, idp: &Idp, outcome: &TokenOutcome, now: Timestamp, jitter: f64) {
        let (code, error, wait) = match outcome {
            TokenOutcome::Granted(_) => return,
            TokenOutcome::Dead(error) => return self.end(self.end_reason(idp, now), error, now),
            TokenOutcome::ClientRefused(error) => (ErrorCode::CredentialsInvalid, error, Some(PAUSES[2])),
            TokenOutcome::Refused(error) => (ErrorCode::UnknownIdpError, error, None),
            TokenOutcome::Later { error, wait, .. } => {
                let is_limit = error.status == Some(429);
                (if is_limit { ErrorCode::IdpRateLimited } else { ErrorCode::IdpUnavailable }, error, *wait)
            }
        };
        self.failing_since.get_or_insert(now);
        if code == ErrorCode::UnknownIdpError {
            let since = *self.refused_since.get_or_insert(now);
            if now.since(since) >= UNKNOWN_PATIENCE {
                return self.end(ErrorCode::UnknownIdpError, error, now);
            }
        } else {
            // Four days of nothing else.
            self.refused_since = None;
        }
        self.failures = self.failures.saturating_add(1);
        let is_lost = matches!(outcome, TokenOutcome::Later { may_have_run: true, .. })
            && idp.rotation == Rotation::Rotates
            && self.lost_at.is_none();
        let jitter = jitter.clamp(0.0, 1.0);
        let pause = if is_lost {
            self.lost_at = Some(now);
            AFTER_LOST_RESPONSE + AFTER_LOST_RESPONSE_SPREAD.mul_f64(jitter)
        } else {
            let index = usize::try_from(self.failures - 1).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
            PAUSES[index].mul_f64(0.8 + 0.4 * jitter).max(wait.unwrap_or_default())
        };
        self.next_refresh_at = Some(now + pause);
        if self.status != Status::Pending {
            self.status = Status::Failing;
        }
        self.last_error = Some(LastError::new(code, error, now));
        self.updated_at = now;
        self.announce_due(now);
    }

    /// Why a dead grant most likely died.
    fn end_reason(&self, idp: &Idp, now: Timestamp) -> ErrorCode {
        let age = now.since(self.authorized_at);
        let is_testing = idp.testing_lifetime_secs.is_some_and(|secs| {
            let life = Duration::from_secs(secs.into());
            // It is noticed by the next refresh after it, within the keep-alive.
            age + TESTING_TOLERANCE >= life && age <= life + KEEP_ALIVE + TESTING_TOLERANCE
        });
        if self.lost_at.is_some() {
            ErrorCode::ResponseLost
        } else if self.grant_end().is_some_and(|end| end <= now) {
            ErrorCode::GrantExpired
        } else if is_testing {
            ErrorCode::TestingMode
        } else {
            ErrorCode::GrantRevoked
        }
    }

    /// Notes a refresh that granted a token, after that was taken over.
    pub fn note_granted_refresh(&mut self, rotated: bool, took: Duration, now: Timestamp) {
        let generation = self.generation;
        let outcome = RefreshOutcome::Refreshed;
        let record =
            RefreshRecord { at: now, outcome, rotated, took, generation, code: None, status_code: None };
        self.refreshes.note(record);
    }

    /// Notes a refresh that granted none, after [`Self::note_failure`].
    pub fn note_failed_refresh(&mut self, took: Duration, now: Timestamp) {
        let is_dead = self.status == Status::Reauthorize;
        let error = self.last_error.as_ref();
        let record = RefreshRecord {
            at: now,
            outcome: if is_dead { RefreshOutcome::Ended } else { RefreshOutcome::Failed },
            rotated: false,
            took,
            generation: self.generation,
            code: error.map(|error| error.code),
            status_code: error.and_then(|error| error.status_code),
        };
        self.refreshes.note(record);
    }

    /// Ends the grant: only the person can give another one.
    pub fn end(&mut self, code: ErrorCode, error: &IdpError, now: Timestamp) {
        self.last_error = Some(LastError::new(code, error, now));
        self.next_refresh_at = None;
        self.failures = self.failures.saturating_add(1);
        self.updated_at = now;
        if self.status != Status::Reauthorize {
            self.status = Status::Reauthorize;
            self.announce(ConnectionEvent::Reauthorize, now);
        }
    }

    /// Ends the connection for good.
    pub fn revoke(&mut self, by: RevokedBy, now: Timestamp) {
        if self.status == Status::Revoked {
            return;
        }
        self.status = Status::Revoked;
        self.revoked_by = Some(by);
        self.next_refresh_at = None;
        self.updated_at = now;
        self.announce(ConnectionEvent::Revoked, now);
    }
}

fn days_of(days: u32) -> Duration {
    Duration::from_hours(24) * days
}

/// What is done about a connection whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueStep {
    /// Nothing yet.
    Nothing,
    /// Its token is refreshed.
    Refresh,
    /// Its only token has expired.
    End,
    /// It was not confirmed in time.
    Revoke,
    /// It was ended long ago.
    Forget,
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
pub(super) mod tests;
