//! Reading an inbound request: where a value is, and how it is taken from there.
//!
//! Nothing here knows of secrets or signatures, and nothing trusts what it reads.
//! A place that a request does not have is `None`; what that means is decided by the reader.

mod facts;
mod form;
mod place;
mod raw;
mod request;

pub use facts::{Facts, FormDocument, ITEM_COUNT_LIMIT};
pub use form::sorted as sorted_form;
pub use place::{InvalidPlace, Origin, Place};
pub use raw::{Pointer, text_of};
pub use request::{Request, percent_decoded};

#[cfg(test)]
mod tests;
