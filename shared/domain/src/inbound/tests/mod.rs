//! The cases of the research, each by its number: requests that broke other gateways, and the right outcome.
//!
//! The samples of the presets are walked by `shared/domain/tests/presets.rs`.

mod bytes;
mod challenges;
mod custom;
mod delivery;
mod kit;
mod later;
mod rsa;
mod vectors;

use super::{engine::Verified, reading::Request};

/// A request as if it were verified, for tests of what follows.
pub(super) fn verified(request: Request<'_>) -> Verified<'_> {
    Verified::unchecked(request)
}
