//! The keys that a pass has seen, in the partition of the records: thousands in a row, as hashes.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    SyncId, TenantId, Timestamp,
    sync::{
        key_hash,
        seen::{SeenKeys, pack},
    },
};

use super::records::SyncRecords;
use crate::{
    Fault,
    store::table::{Item, attributes::number, keys::sync as keys},
};

/// Hashes of one row, which may have 400 KB: 320 KB.
const HASHES_OF_ROW: usize = 40_000;

/// How long a row is kept: longer than a pass takes. One that takes longer begins again.
pub const SEEN_KEPT: Duration = Duration::from_hours(48);

impl SyncRecords {
    /// Keeps the keys of a page of the pass `pass`.
    pub async fn keep_seen(
        &self,
        (tenant, sync): (&TenantId, SyncId),
        pass: u32,
        page: u64,
        seen: &[&str],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let hashes: Vec<_> = seen.iter().map(|key| key_hash(key)).collect();
        for (index, hashes) in hashes.chunks(HASHES_OF_ROW).enumerate() {
            let part = format!("{page:08}#{:013}#{index:03}", now.millis());
            let (pk, sk) = keys::seen_part(tenant, sync, pass, &part);
            let row = Item::from([
                ("pk".to_owned(), AttributeValue::S(pk)),
                ("sk".to_owned(), AttributeValue::S(sk)),
                ("hashes".to_owned(), AttributeValue::B(pack(hashes).into())),
                ("expires_at".to_owned(), number((now + SEEN_KEPT).secs())),
            ]);
            self.table.put(row).send().await.map_err(Fault::on("keeping the keys that were seen"))?;
        }
        Ok(())
    }

    /// All keys that the pass `pass` has seen.
    pub async fn seen(&self, tenant: &TenantId, sync: SyncId, pass: u32) -> Result<SeenKeys, Fault> {
        const DOING: &str = "reading the keys that were seen";
        let mut seen = SeenKeys::default();
        for row in self.table.rows_under(keys::records(tenant, sync), &keys::seen(pass), DOING).await? {
            let hashes = row.get("hashes").and_then(|hashes| hashes.as_b().ok());
            seen.add(hashes.ok_or_else(|| Fault::new(DOING, "a row has none"))?.as_ref());
        }
        Ok(seen)
    }
}
