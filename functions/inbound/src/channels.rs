//! Messages of the channels that syncs have opened: each says that something has changed, and never what.
//!
//! A message is compared with the row of its channel, which holds the hash of its token. So a flood of invented ones costs
//! a read each, and no secret is read. Copies do no harm: a message makes its sync due, which is one entry.

use domain::{Timestamp, calendar::channel::read_notice};
use http::StatusCode;
use platform::{
    Fault,
    lambda::{
        http::{Request, Response},
        problem::Problem,
    },
    runtime::telemetry,
};

use crate::Inbound;

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// It is of a channel of ours.
    Accepted,
    /// No channel has its id, its token and its resource.
    Unknown,
}

impl Inbound {
    /// Makes the sync of a channel due, where the message says that something has changed.
    pub(crate) async fn note_push(&self, request: &Request, now: Timestamp) -> Result<PushOutcome, Fault> {
        let Some(notice) = read_notice(&|name| request.header(name)) else { return Ok(PushOutcome::Unknown) };
        let Some(channel) = self.push_channels.get(notice.channel).await? else {
            return Ok(PushOutcome::Unknown);
        };
        if !channel.has_sent(notice.token, notice.resource_id) {
            return Ok(PushOutcome::Unknown);
        }
        let (tenant, id) = (channel.tenant.clone(), channel.sync);
        if channel.resource_id.is_none() {
            // The response that says it may be on its way still, or lost.
            let ends_at = notice.ends_at.unwrap_or_else(|| channel.ends_at());
            let opened = channel.opened(notice.resource_id.to_owned(), ends_at);
            self.push_channels.put(notice.channel, &opened).await?;
        }
        if notice.is_change
            // Its sync may be gone, and then the channel ends within days.
            && let Some(sync) = self.syncs.get(&tenant, id).await?
            && !sync.paused
            // What a sync waits for is not passed by a notification.
            && sync.state.must_wait_until(now).is_none()
        {
            self.sync_entries.put(&tenant, sync.kind.row().engine, id, now).await?;
        }
        Ok(PushOutcome::Accepted)
    }
}

/// The response to a message.
pub(crate) fn reply(noted: Result<PushOutcome, Fault>, request: &Request, now: Timestamp) -> Response {
    match noted {
        Ok(PushOutcome::Accepted) => Response::json(StatusCode::OK, "{}".to_owned()),
        Ok(PushOutcome::Unknown) => {
            let dimensions = [("provider", "unknown"), ("reason", "unknown-source")];
            telemetry::count("InboundRefused", &dimensions, now);
            Response::problem(&Problem::not_found("channel"), &request.id)
        }
        Err(fault) => Response::problem(&fault.into(), &request.id),
    }
}
