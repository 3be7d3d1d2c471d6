//! Our client at a provider, and what its secret must be as it is stored.

use std::sync::Arc;

use domain::{Secret, connection::idp::ClientAuth};
use serde::Deserialize;

use crate::connection::jwt::{Es256Key, KeyError};

/// The longest client secret, in bytes. Signed ones have about 300.
const SECRET_LIMIT: usize = 4096;

/// Our client at a provider.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its public name there.
    pub client_id: String,
    /// What it authenticates with.
    pub secret: ClientSecret,
}

/// What a client authenticates with.
#[derive(Debug, Clone)]
pub enum ClientSecret {
    /// Nothing: a public client.
    None,
    /// A shared secret.
    Text(Secret),
    /// A key that signs an assertion per call.
    Key {
        /// The team that Apple knows the key by; nothing elsewhere.
        team_id: Option<String>,
        /// The key.
        key: Arc<Es256Key>,
    },
}

/// The stored form: `{"client_secret": "…"}`, or `{"team_id": "…", "key_id": "…", "private_key": "PEM"}`.
#[derive(Deserialize)]
struct StoredSecret {
    client_secret: Option<Secret>,
    team_id: Option<String>,
    key_id: Option<String>,
    private_key: Option<Secret>,
}

impl ClientSecret {
    /// Reads the stored form, of which `auth` says what is required.
    ///
    /// # Errors
    /// What it lacks, as text for the person who enters it. It never quotes the secret.
    pub fn parse(stored: &Secret, auth: ClientAuth) -> Result<Self, &'static str> {
        if auth == ClientAuth::None {
            return Ok(Self::None);
        }
        let stored: StoredSecret = serde_json::from_str(stored.expose())
            .map_err(|_| "the credentials must be a JSON object of strings")?;
        let full = |text: &String| !text.is_empty();
        match auth {
            ClientAuth::None => Ok(Self::None),
            ClientAuth::Basic | ClientAuth::BasicRaw | ClientAuth::Post => {
                let secret = stored.client_secret.filter(|secret| !secret.expose().is_empty());
                secret.map(Self::Text).ok_or("client_secret is required")
            }
            ClientAuth::SignedSecret | ClientAuth::PrivateKeyJwt => {
                let pem = stored.private_key.ok_or("private_key is required")?;
                let (team_id, key_id) = (stored.team_id.filter(full), stored.key_id.filter(full));
                // Apple's header and claims name both.
                if auth == ClientAuth::SignedSecret && (team_id.is_none() || key_id.is_none()) {
                    return Err("team_id and key_id are required");
                }
                let key = Es256Key::from_pem(pem.expose(), key_id).map_err(KeyError::as_str)?;
                Ok(Self::Key { team_id, key: Arc::new(key) })
            }
        }
    }

    /// Checks credentials as they are entered. Stricter than [`Self::parse`], because a person can correct them: a space
    /// or a line break around a secret is most likely from copying it.
    ///
    /// # Errors
    /// What must be changed; it never quotes the secret.
    pub fn check(stored: &Secret, auth: ClientAuth) -> Result<(), &'static str> {
        let Self::Text(secret) = Self::parse(stored, auth)? else { return Ok(()) };
        let text = secret.expose();
        if text.len() > SECRET_LIMIT {
            Err("client_secret must be at most 4096 bytes long")
        } else if text.trim() != text || text.chars().any(char::is_control) {
            Err("client_secret must not begin or end with a space, nor contain control characters")
        } else {
            Ok(())
        }
    }
}
