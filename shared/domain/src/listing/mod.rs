//! Listings of real estate by the RESO Web API: how feeds are replicated, and how a listing is shown.
//!
//! A feed is a row of [`feeds`]. Its vendor's documentation is named at its API, in `client::apis::mls`.

pub mod feeds;
mod record;
mod standard_status;

pub use record::LISTING_FIELDS;
pub(crate) use record::without_signed_links;
pub use standard_status::standard_status;
