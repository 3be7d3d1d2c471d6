//! The endpoints that an event goes to: in the event's item, or on pages of their own.

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::HEXLOWER;
use domain::{
    EventId, TenantId, Timestamp,
    delivery::Retention,
    endpoint::{SNAPSHOT_INLINE, SNAPSHOT_PAGE, Target},
    saturating,
};
use futures_util::future::try_join_all;

use crate::{
    Fault,
    runtime::clock,
    store::table::{
        Item, Table,
        attributes::{expires_at, flag, integer, malformed, text},
        keys,
        statements::{Statement, StatementOutcome},
    },
};

/// The endpoints that an event goes to.
#[derive(Debug, Clone)]
pub enum Snapshot {
    /// They are in the event's item.
    Inline(Vec<Target>),
    /// They are on pages of their own, written before the event.
    Pages {
        /// Distinguishes these pages from those of a concurrent publish.
        id: String,
        /// How many there are.
        count: u32,
    },
}

/// Endpoints of one page of a wide fan-out.
#[derive(Debug, Clone)]
pub struct SnapshotPage {
    /// The endpoints.
    pub targets: Vec<Target>,
    /// Whether their first attempts go through the slow lane.
    pub slow: bool,
}

/// Snapshots of the endpoints that events go to.
#[derive(Debug, Clone)]
pub struct Snapshots {
    table: Table,
}

impl Snapshots {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// Stores the endpoints of an event before the event itself: in its item, or on pages where
    /// there are many. Slow ones are on pages of their own.
    pub async fn put(
        &self,
        tenant: &TenantId,
        event: EventId,
        targets: Vec<Target>,
        is_slow: impl Fn(&Target) -> bool,
        (now, retention): (Timestamp, Retention),
    ) -> Result<Snapshot, Fault> {
        const DOING: &str = "storing where an event goes";
        if targets.len() <= SNAPSHOT_INLINE {
            return Ok(Snapshot::Inline(targets));
        }
        let id = HEXLOWER.encode(&clock::random::<6>()?);
        let (slow, fast): (Vec<_>, Vec<_>) = targets.into_iter().partition(is_slow);
        let chunks = fast.chunks(SNAPSHOT_PAGE).map(|chunk| (chunk, false));
        let chunks: Vec<_> = chunks.chain(slow.chunks(SNAPSHOT_PAGE).map(|chunk| (chunk, true))).collect();
        let count = saturating::<u32>(chunks.len());
        let statements = (0..).zip(chunks).map(|(page, (targets, slow))| {
            let (pk, sk) = keys::page(tenant, event, &id, page);
            let mut item = Item::from([
                ("pk".to_owned(), AttributeValue::S(pk)),
                ("sk".to_owned(), AttributeValue::S(sk)),
                ("slow".to_owned(), AttributeValue::Bool(slow)),
                ("expires_at".to_owned(), expires_at(now, retention)),
            ]);
            write_targets(&mut item, targets);
            Statement::insert(&self.table, item)
        });
        for applied in self.table.execute(statements.collect(), DOING).await {
            if let StatementOutcome::ConditionFailed(_) = applied? {
                return Err(Fault::new(DOING, "a page of this name already exists"));
            }
        }
        Ok(Snapshot::Pages { id, count })
    }

    /// One page of the endpoints of an event.
    pub async fn page(
        &self,
        tenant: &TenantId,
        event: EventId,
        snapshot: &str,
        page: u32,
    ) -> Result<Option<SnapshotPage>, Fault> {
        let key = keys::page(tenant, event, snapshot, page);
        let item = self.table.get(key, true, "reading where an event goes").await?;
        item.map(|item| Ok(SnapshotPage { targets: read_targets(&item)?, slow: flag(&item, "slow") }))
            .transpose()
    }

    /// All endpoints that an event goes to.
    pub async fn targets(
        &self,
        tenant: &TenantId,
        event: EventId,
        snapshot: &Snapshot,
    ) -> Result<Vec<Target>, Fault> {
        match snapshot {
            Snapshot::Inline(targets) => Ok(targets.clone()),
            Snapshot::Pages { id, count } => {
                let pages = (0..*count).map(|page| self.page(tenant, event, id, page));
                let pages = try_join_all(pages).await?;
                let missing = || Fault::new("reading where an event goes", "a page is missing");
                let pages = pages.into_iter().map(|page| Ok(page.ok_or_else(missing)?.targets));
                Ok(pages.collect::<Result<Vec<_>, Fault>>()?.concat())
            }
        }
    }
}

/// The operator's endpoints have an attribute of their own, since they are looked up elsewhere.
pub(super) fn write_targets(item: &mut Item, targets: &[Target]) {
    for (name, operator) in [("endpoints", false), ("operator_endpoints", true)] {
        let ids = targets.iter().filter(|target| target.operator == operator);
        let ids: Vec<_> = ids.map(|target| AttributeValue::S(target.endpoint.to_string())).collect();
        if !ids.is_empty() || !operator {
            item.insert(name.to_owned(), AttributeValue::L(ids));
        }
    }
}

/// The snapshot in an event's item.
pub(super) fn read_snapshot(item: &Item) -> Result<Snapshot, Fault> {
    if item.contains_key("pages") {
        return Ok(Snapshot::Pages {
            id: text(item, "snapshot")?.to_owned(),
            count: integer(item, "pages")?,
        });
    }
    Ok(Snapshot::Inline(read_targets(item)?))
}

fn read_targets(item: &Item) -> Result<Vec<Target>, Fault> {
    let mut targets = Vec::new();
    for (name, operator) in [("endpoints", false), ("operator_endpoints", true)] {
        let ids = item.get(name).and_then(|value| value.as_l().ok()).map(Vec::as_slice).unwrap_or_default();
        for id in ids {
            let endpoint = id.as_s().ok().and_then(|id| id.parse().ok()).ok_or_else(|| malformed(name))?;
            targets.push(Target { endpoint, operator });
        }
    }
    Ok(targets)
}
