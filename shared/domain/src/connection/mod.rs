//! OAuth connections: one grant of a person at an identity provider (idp), kept alive for the CRM.
//!
//! ```text
//! connect session ─▶ authorization request ─▶ callback ─▶ token response ─▶ connection
//!                                                             ▲                 │ due, or a token call
//!                                                             └──── refresh ◀───┘
//! ```
//!
//! | file | subject |
//! |---|---|
//! | [`idp`] | what is particular about a provider, as a row |
//! | [`presets`] | the rows that ship |
//! | [`idp_config`] | a provider as it is set up, with our client's credentials |
//! | [`authorize`] | the URL that a browser is sent to |
//! | [`callback`] | what a browser brings back |
//! | [`token`] | what a token endpoint responds |
//! | [`id_token`] | the checks of an `id_token`'s claims |
//! | [`account`] | who granted |
//! | [`record`] | a connection and its status |
//! | [`refresh`] | when a token is refreshed, and what an outcome leads to |
//! | [`history`] | its last refreshes |
//! | [`notice`] | what a provider's notice about a grant does |
//! | [`session`] | what a CRM asks a person to grant |
//! | [`storage`] | where a deployment keeps what lasts |
//!
//! Nothing here calls a provider; `platform::connection` does.

pub mod account;
pub mod authorize;
pub mod callback;
pub mod history;
pub mod id_token;
pub mod idp;
pub mod idp_config;
#[cfg(test)]
mod month_tests;
pub mod notice;
pub mod presets;
pub mod record;
pub mod refresh;
#[cfg(test)]
mod samples;
pub mod session;
pub mod storage;
pub mod token;

pub use idp::{Idp, IdpName};
pub use idp_config::IdpConfig;
pub use record::{Connection, Status};
