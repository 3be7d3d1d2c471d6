//! Which tenant an account of a provider is, at a source of the operator. Stripe Connect, for example, sends the events of
//! all connected accounts to one URL.

use std::{sync::Arc, time::Duration};

use domain::{SourceId, TenantId, inbound::ProviderAccount};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{
        Table, keys,
        rows::{self, Order, Span},
    },
};

/// An account with its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAccount {
    /// The provider's id of the account.
    pub account: ProviderAccount,
    /// Whose it is.
    pub tenant: TenantId,
}

/// The accounts of sources, with a cache, of those that are not mapped too.
#[derive(Debug, Clone)]
pub struct SourceAccounts {
    table: Table,
    cache: Arc<Cache<(SourceId, ProviderAccount), Option<TenantId>>>,
}

impl SourceAccounts {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// The tenant of an account; nothing where it is not mapped.
    pub async fn tenant(
        &self,
        source: SourceId,
        account: &ProviderAccount,
    ) -> Result<Option<TenantId>, Fault> {
        let cached = (source, account.clone());
        if let Some(tenant) = self.cache.get(&cached) {
            return Ok(tenant);
        }
        let row = self.table.get_row::<SourceAccount>(keys::source_account(source, account), true).await?;
        let tenant = row.map(|row| row.tenant);
        self.cache.put(cached, tenant.clone());
        Ok(tenant)
    }

    /// The same as it is now.
    pub async fn tenant_now(
        &self,
        source: SourceId,
        account: &ProviderAccount,
    ) -> Result<Option<TenantId>, Fault> {
        let row = self.table.get_row::<SourceAccount>(keys::source_account(source, account), true).await?;
        Ok(row.map(|row| row.tenant))
    }

    /// Maps an account to a tenant, or to another one than before.
    pub async fn put(&self, source: SourceId, mapped: &SourceAccount) -> Result<(), Fault> {
        let item = rows::item(keys::source_account(source, &mapped.account), mapped)?;
        self.table.put(item).send().await.map_err(Fault::on("mapping an account"))?;
        self.cache.forget(&(source, mapped.account.clone()));
        Ok(())
    }

    /// Removes an account. Nothing happens where it is not mapped.
    pub async fn remove(&self, source: SourceId, account: &ProviderAccount) -> Result<(), Fault> {
        let delete = self.table.delete(keys::source_account(source, account));
        delete.send().await.map_err(Fault::on("removing an account"))?;
        self.cache.forget(&(source, account.clone()));
        Ok(())
    }

    /// Removes all accounts of a source, page by page. Where that stops halfway, a repeat goes on.
    pub async fn remove_all(&self, source: SourceId) -> Result<(), Fault> {
        const PAGE: usize = 25;
        loop {
            let page = self.list(source, None, PAGE).await?;
            try_join_all(page.iter().map(|mapped| self.remove(source, &mapped.account))).await?;
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Accounts of a source by name: up to `limit` of those behind `after`.
    pub async fn list(
        &self,
        source: SourceId,
        after: Option<&ProviderAccount>,
        limit: usize,
    ) -> Result<Vec<SourceAccount>, Fault> {
        const DOING: &str = "listing accounts";
        let first =
            after.map_or_else(|| keys::ACCOUNTS.to_owned(), |after| keys::source_account(source, after).1);
        let span = Span { pk: keys::source_lookup(source).0, first, last: format!("{}~", keys::ACCOUNTS) };
        let read = |item| {
            let found: SourceAccount = serde_dynamo::from_item(item).map_err(Fault::on(DOING))?;
            Ok(if Some(&found.account) == after { None } else { Some(found) })
        };
        self.table.page(span, Order::ByName, limit, DOING, read).await
    }
}
