//! The public keys that verify checkpoints of audit trails. They are not in the table of the trails, so that who can
//! write there alone cannot add a key of its own. A key that was rotated stays: it verifies what it has signed.

use domain::{
    TenantId, Timestamp,
    audit::{Link, checkpoint::PublicKey},
};
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    store::table::{Table, keys, put_if, rows::item},
};

/// A key, and since when it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: PublicKey,
    /// When it signed first.
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Row {
    public_key: String,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
struct SignedRow {
    seq: u64,
    hash: String,
}

/// The keys.
#[derive(Debug, Clone)]
pub struct CheckpointKeys {
    table: Table,
}

impl CheckpointKeys {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Adds a key, unless it is known; whether it was new.
    pub async fn add(&self, key: &PublicKey, now: Timestamp) -> Result<bool, Fault> {
        let row = Row { public_key: key.to_string(), created_at: now.millis() };
        let put = self
            .table
            .put(item(keys::checkpoint_key(&key.id()), &row)?)
            .condition_expression("attribute_not_exists(pk)");
        put_if(put, "writing the key of checkpoints").await
    }

    /// The end of a tenant's trail that was signed last. It is not in the table of the trails, so that the checkpoints
    /// there cannot be removed or replaced unseen.
    pub async fn signed(&self, tenant: &TenantId) -> Result<Option<Link>, Fault> {
        let row = self.table.get_row::<SignedRow>(keys::checkpoint_head(tenant), true).await?;
        Ok(row.map(|row| Link { seq: row.seq, hash: row.hash }))
    }

    /// Notes that.
    pub async fn note_signed(&self, tenant: &TenantId, link: &Link) -> Result<(), Fault> {
        let row = SignedRow { seq: link.seq, hash: link.hash.clone() };
        let put = self.table.put(item(keys::checkpoint_head(tenant), &row)?);
        put_if(put, "noting a checkpoint").await.map(|_| ())
    }

    /// All keys, the newest first. What is no key is left out: it verifies nothing.
    pub async fn list(&self) -> Result<Vec<KnownKey>, Fault> {
        const DOING: &str = "reading the keys of checkpoints";
        let (pk, prefix) = keys::checkpoint_key(PublicKey::ID_PREFIX);
        let rows = self.table.rows_under(pk, &prefix, DOING).await?;
        let read = |row| {
            let Row { public_key, created_at } = serde_dynamo::from_item(row).ok()?;
            Some(KnownKey { key: public_key.parse().ok()?, created_at: Timestamp::from_millis(created_at) })
        };
        let mut known: Vec<KnownKey> = rows.into_iter().filter_map(read).collect();
        known.sort_by_key(|known| std::cmp::Reverse(known.created_at));
        Ok(known)
    }
}
