//! OAuth connections: calls to providers, what tokens are sealed with, and the keeper that makes connections, refreshes
//! them and ends them.
//!
//! | file | subject |
//! |---|---|
//! | [`provider`] | every call to an identity provider |
//! | [`jwt`] | signed tokens, made and verified |
//! | [`key_sets`] | the keys that providers publish |
//! | [`seal`], [`seal_keys`] | how tokens are sealed, and with what |
//! | [`keeper`] | a connection's life |
//! | [`message`], [`measures`] | what a refresh is asked for by, and what is measured |
//!
//! What may be done with a connection is decided in `domain`; HTTP is in [`crate::webhook::egress`].

pub mod jwt;
pub mod keeper;
pub mod key_sets;
pub mod measures;
pub mod message;
pub mod provider;
pub mod seal;
pub mod seal_keys;
