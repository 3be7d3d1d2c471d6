//! Calendars: how an appointment is shown, whichever provider has it.

pub mod channel;
pub mod google;
mod shown;

pub use shown::{Attendee, CalendarEvent, CalendarTime};
