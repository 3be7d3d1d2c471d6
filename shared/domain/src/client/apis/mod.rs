//! The rows of APIs.

pub mod brevo;
pub mod google_calendar;
pub mod mls;
pub mod stripe;
