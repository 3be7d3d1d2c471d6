//! Searches of a trail. There is no index: numbers have no gaps and times follow them, so the end of a span of time is
//! found by halving, and entries are read backwards from there.

use domain::{
    TenantId,
    audit::{ChainedEntry, filter::EntryFilter},
    saturating,
};

use super::{Audit, Direction, LAST_SEQ, rows::entries};
use crate::{Fault, store::table::keys};

/// Entries that one read looks at.
const SEARCH_ENTRIES: i32 = 250;

/// The fewest of a search by time alone, where nearly all that are read match.
const FEWEST_ENTRIES: usize = 50;

/// Reads that one search makes, once it knows where to begin. Each reads up to 1 MB.
const SEARCH_READS: u32 = 4;

/// What a search has found.
#[derive(Debug, Default)]
pub struct FoundEntries {
    /// The entries, newest first.
    pub entries: Vec<ChainedEntry>,
    /// Before which number the search continues; nothing at its end.
    pub next: Option<u64>,
}

impl Audit {
    /// Up to `limit` entries that match, of those before number `before`, newest first. There are fewer where that takes
    /// more reads than one request should make.
    pub async fn search(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        filter: &EntryFilter,
        limit: usize,
    ) -> Result<FoundEntries, Fault> {
        let mut before = match before {
            Some(before) => before,
            None if filter.until.is_some() => self.first_after(tenant, filter).await?,
            None => u64::MAX,
        };
        let at_once = if filter.is_of_time_alone() {
            saturating::<i32>(limit.saturating_add(1).max(FEWEST_ENTRIES))
        } else {
            SEARCH_ENTRIES
        };
        let mut found = FoundEntries::default();
        let key = keys::audit_entry(tenant, before.saturating_sub(1).min(LAST_SEQ));
        let mut start = None;
        for _ in 0..SEARCH_READS {
            let (rows, end) = self.read_once(key.clone(), Direction::Back, at_once, start).await?;
            for sealed in entries(&rows) {
                if filter.is_after(sealed.entry.at) {
                    return Ok(found);
                }
                before = sealed.entry.seq;
                if !filter.matches(&sealed.entry) {
                    continue;
                }
                if found.entries.len() == limit {
                    found.next = found.entries.last().map(|last| last.entry.seq);
                    return Ok(found);
                }
                found.entries.push(sealed);
            }
            start = end;
            if start.is_none() {
                return Ok(found);
            }
        }
        found.next = Some(before);
        Ok(found)
    }

    /// A number from which on all entries are too new for a filter. Between the two bounds nothing is known of the order,
    /// but of what is behind the upper one it is known that it cannot match.
    async fn first_after(&self, tenant: &TenantId, filter: &EntryFilter) -> Result<u64, Fault> {
        let newest = self.newest(tenant, None, 1).await?;
        let Some(newest) = newest.first().map(|sealed| &sealed.entry) else { return Ok(1) };
        if !filter.is_before(newest.at) {
            return Ok(newest.seq.saturating_add(1));
        }
        let (mut low, mut high) = (0, newest.seq);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let found = self.from(tenant, middle, 1).await?;
            if found.first().is_none_or(|sealed| filter.is_before(sealed.entry.at)) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }
}
