//! The rows of APIs.

pub mod google_calendar;
pub mod mls;
