//! Checkpoints of trails, in partitions of their own beside the entries.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    TenantId, Timestamp,
    audit::{Link, checkpoint::Checkpoint},
};

use super::{Audit, Direction, LAST_SEQ, rows::number_of};
use crate::{
    Fault,
    store::table::{
        Item,
        attributes::{integer, number, text},
        keys,
        statements::{Statement, StatementOutcome},
    },
};

impl Audit {
    /// Adds a checkpoint to those of a tenant; false where there is one of this entry.
    pub async fn add_checkpoint(&self, tenant: &TenantId, checkpoint: &Checkpoint) -> Result<bool, Fault> {
        const DOING: &str = "writing a checkpoint";
        let statement = Statement::insert(&self.table, item(tenant, checkpoint));
        let applied = self.table.execute(vec![statement], DOING).await.pop();
        match applied.unwrap_or_else(|| Err(Fault::new(DOING, "the statement has no result")))? {
            StatementOutcome::Applied => Ok(true),
            StatementOutcome::ConditionFailed(_) => Ok(false),
        }
    }

    /// The newest checkpoints of a tenant, of those of entries before number `before`, newest first.
    pub async fn newest_checkpoints(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        limit: i32,
    ) -> Result<Vec<Checkpoint>, Fault> {
        let last = before.unwrap_or(u64::MAX).saturating_sub(1).min(LAST_SEQ);
        let rows = self.query(keys::audit_checkpoint(tenant, last), Direction::Back, limit).await?;
        Ok(rows.iter().filter(|row| number_of(row).is_some()).map(read).collect())
    }

    /// Checkpoints of a tenant from entry `from` on, in order.
    pub async fn checkpoints_from(
        &self,
        tenant: &TenantId,
        from: u64,
        limit: i32,
    ) -> Result<Vec<Checkpoint>, Fault> {
        let key = keys::audit_checkpoint(tenant, from.min(LAST_SEQ));
        let rows = self.query(key, Direction::Forward, limit).await?;
        Ok(rows.iter().filter(|row| number_of(row).is_some()).map(read).collect())
    }
}

fn item(tenant: &TenantId, Checkpoint { link, at, key_id, signature }: &Checkpoint) -> Item {
    let (pk, sk) = keys::audit_checkpoint(tenant, link.seq);
    let texts =
        [("pk", &pk), ("sk", &sk), ("hash", &link.hash), ("key_id", key_id), ("signature", signature)];
    let mut item: Item =
        texts.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.clone()))).into();
    item.insert("at".to_owned(), number(at.millis()));
    item
}

/// Reads a row, whatever it holds: one that was tampered with has no valid signature.
fn read(item: &Item) -> Checkpoint {
    let required = |name: &str| text(item, name).unwrap_or_default().to_owned();
    Checkpoint {
        link: Link { seq: required("sk").parse().unwrap_or_default(), hash: required("hash") },
        at: Timestamp::from_millis(integer(item, "at").unwrap_or_default()),
        key_id: required("key_id"),
        signature: required("signature"),
    }
}

#[cfg(test)]
mod tests {
    use domain::audit::checkpoint::CheckpointKey;

    use super::*;

    #[test]
    fn rows_are_read_back() {
        let tenant: TenantId = "acme".parse().unwrap();
        let key = CheckpointKey::from_secret("s");
        let link = Link { seq: 3, hash: "ab".repeat(32) };
        let signed = key.sign(&tenant, link.clone(), Timestamp::from_millis(1_700_000_000_001));
        let mut row = item(&tenant, &signed);
        assert_eq!(read(&row), signed);
        row.remove("at");
        assert!(read(&row).check(&tenant, &link.hash, &[key.public()]).is_err(), "tampered with");
    }
}
