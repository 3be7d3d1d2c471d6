//! Who may do what: API keys and their scopes, roles made of scopes, and the networks that may call.
//!
//! What a request asks for is not here: each route names the scope that it requires.

pub mod caller;
pub mod key;
pub mod network;
pub mod origin;
pub mod portal;
pub mod role;
pub mod scope;
pub mod token;

pub use caller::Caller;
pub use key::ApiKey;
pub use network::Network;
pub use role::{Grant, Role};
pub use scope::Scope;
