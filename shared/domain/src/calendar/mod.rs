//! Calendars: how an appointment is shown, whichever provider has it.

pub mod calendars;
pub mod change;
pub mod channel;
pub mod google;
mod google_writes;
mod shown;
pub mod writes;

pub use shown::{Attendee, CalendarEvent, CalendarTime};
