//! Where a deployment keeps the durable credentials of connections, as its parameters say.

use super::idp::{Idp, Rotation};
use crate::text::text_enum;

text_enum! {
    /// Where refresh tokens are that each use replaces.
    pub enum RotatingTokens {
        /// Each in a secret of its own in Secrets Manager.
        OwnSecrets = "own-secrets",
        /// Sealed in the row of their connection, without a secret.
        Sealed = "sealed",
    }
}

text_enum! {
    /// Which connections share a document in Secrets Manager.
    pub enum CredentialShards {
        /// Those of all tenants.
        Shared = "shared",
        /// Those of one tenant.
        PerTenant = "per-tenant",
    }
}

/// Where the durable credential of a new connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Into a document that connections share.
    Document,
    /// Into a secret of its own.
    OwnSecret,
    /// Into the connection's row, sealed.
    Row,
}

impl RotatingTokens {
    /// Where the durable credential of a new connection goes. A provider that could rotate and gives no refresh token
    /// does not.
    #[must_use]
    pub fn storage(self, idp: &Idp, refreshable: bool) -> Storage {
        match self {
            _ if !refreshable || idp.rotation != Rotation::Rotates => Storage::Document,
            Self::OwnSecrets => Storage::OwnSecret,
            Self::Sealed => Storage::Row,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connection::samples::idp;

    #[test]
    fn only_tokens_that_rotate_have_a_place_of_their_own() {
        for (rotation, refreshable, own, sealed) in [
            ("rotates", true, Storage::OwnSecret, Storage::Row),
            ("rotates", false, Storage::Document, Storage::Document),
            ("keeps", true, Storage::Document, Storage::Document),
            ("renews", true, Storage::Document, Storage::Document),
        ] {
            let idp = idp(json!({ "rotation": rotation }));
            assert_eq!(RotatingTokens::OwnSecrets.storage(&idp, refreshable), own, "{rotation}");
            assert_eq!(RotatingTokens::Sealed.storage(&idp, refreshable), sealed, "{rotation}");
        }
    }

    #[test]
    fn the_parameters_have_these_words() {
        assert_eq!("own-secrets".parse(), Ok(RotatingTokens::OwnSecrets));
        assert_eq!("sealed".parse(), Ok(RotatingTokens::Sealed));
        assert_eq!("shared".parse(), Ok(CredentialShards::Shared));
        assert_eq!("per-tenant".parse(), Ok(CredentialShards::PerTenant));
        assert!("secrets".parse::<RotatingTokens>().is_err());
    }
}
