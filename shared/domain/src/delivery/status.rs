//! The words for the state of a delivery: its status, its group, what it waits for.

use crate::text::text_enum;

text_enum! {
    /// The status of a delivery.
    #[schemars(rename = "DeliveryStatus")]
    pub enum Status {
        /// On its way, not attempted yet.
        Pending = "pending",
        /// Attempted without success; tried again at `next_attempt_at`.
        Retrying = "retrying",
        /// Waiting for its endpoint, not for a time; see `parked_reason`.
        Parked = "parked",
        /// The endpoint responded with 2xx. Final.
        Succeeded = "succeeded",
        /// Every attempt of the schedule failed. Final.
        Exhausted = "exhausted",
        /// Cancelled, by a person or because its endpoint was deleted. Final.
        Cancelled = "cancelled",
        /// Not finished when its event's retention ended. Final.
        Expired = "expired",
    }
}

impl Status {
    /// Whether nothing further happens automatically.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Retrying | Self::Parked => false,
            Self::Succeeded | Self::Exhausted | Self::Cancelled | Self::Expired => true,
        }
    }

    /// The status of a delivery for which this one is stored: what was parked before its first
    /// attempt is pending again once it is let go.
    #[must_use]
    pub fn shown(stored: Self, attempts: u32) -> Self {
        if stored == Self::Retrying && attempts == 0 { Self::Pending } else { stored }
    }

    /// Which group of its endpoint's deliveries it is listed in.
    #[must_use]
    pub fn group(self) -> Group {
        match self {
            Self::Pending | Self::Retrying | Self::Parked => Group::Open,
            Self::Exhausted | Self::Cancelled | Self::Expired => Group::Failed,
            Self::Succeeded => Group::Delivered,
        }
    }
}

text_enum! {
    /// What lists of an endpoint's deliveries are kept apart by.
    ///
    /// In the order in which a delivery can go through them: a reader that takes them in this order
    /// misses none that moves meanwhile.
    pub enum Group {
        /// Not finished.
        Open = "open",
        /// Finished without success.
        Failed = "failed",
        /// Succeeded.
        Delivered = "delivered",
    }
}

text_enum! {
    /// What a parked delivery waits for.
    pub enum ParkedReason {
        /// The endpoint failed so often that it is left alone for a while.
        CircuitOpen = "circuit_open",
        /// The endpoint takes no more for now, by its own rate limit or because it said so.
        RateLimit = "rate_limit",
        /// The endpoint responds slowly, and more waits for it than it takes.
        SlowEndpoint = "slow_endpoint",
        /// The endpoint is disabled, and what it misses is held for it.
        Disabled = "disabled",
    }
}
