//! Identity providers as tenants and the operator have set them up, without secrets, and what tenants set about
//! connect sessions.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    TenantId,
    connection::{IdpConfig, IdpName},
};
use serde::{Deserialize, Serialize};

use super::ROW_CAPACITY;
use crate::{
    Fault,
    runtime::cache::Cache,
    store::table::{
        Table,
        keys::connect,
        put_if,
        rows::{self, Order, Span},
    },
};

/// What a tenant has set about connect sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectSettings {
    /// What the addresses begin with that browsers are sent back to.
    #[serde(default)]
    pub return_urls: Vec<String>,
}

/// A provider that a tenant can use.
#[derive(Debug, Clone)]
pub struct FoundIdp {
    /// How it is set up.
    pub config: Arc<IdpConfig>,
    /// Whether it is the operator's and not the tenant's own.
    pub is_operators: bool,
}

/// Providers by tenant and name; nothing where there is none.
type KnownIdps = Cache<(TenantId, IdpName), Option<Arc<IdpConfig>>>;

/// Identity providers, with a cache.
#[derive(Debug, Clone)]
pub struct Idps {
    table: Table,
    cache: Arc<KnownIdps>,
}

impl Idps {
    pub(crate) fn new(table: Table, cache_age: Duration) -> Self {
        Self { table, cache: Arc::new(Cache::new(cache_age, ROW_CAPACITY)) }
    }

    /// The provider of this name that a tenant uses: its own, or else the operator's.
    pub async fn find(&self, tenant: &TenantId, name: &IdpName) -> Result<Option<FoundIdp>, Fault> {
        if let Some(config) = self.cached(tenant, name).await? {
            return Ok(Some(FoundIdp { config, is_operators: tenant.is_operator() }));
        }
        if tenant.is_operator() {
            return Ok(None);
        }
        let config = self.cached(&TenantId::operator(), name).await?;
        Ok(config.map(|config| FoundIdp { config, is_operators: true }))
    }

    /// The provider by which a connection was granted.
    pub async fn of_owner(
        &self,
        tenant: &TenantId,
        is_operators: bool,
        name: &IdpName,
    ) -> Result<Option<Arc<IdpConfig>>, Fault> {
        self.cached(&tenant.owner_of_endpoint(is_operators), name).await
    }

    async fn cached(&self, tenant: &TenantId, name: &IdpName) -> Result<Option<Arc<IdpConfig>>, Fault> {
        let key = (tenant.clone(), name.clone());
        if let Some(config) = self.cache.get(&key) {
            return Ok(config);
        }
        let config = self.get(tenant, name).await?.map(Arc::new);
        self.cache.put(key, config.clone());
        Ok(config)
    }

    /// One provider of a tenant's own, as it is now.
    pub async fn get(&self, tenant: &TenantId, name: &IdpName) -> Result<Option<IdpConfig>, Fault> {
        self.table.get_row(connect::idp(tenant, name), true).await
    }

    /// Makes a provider. False where the tenant has one of this name.
    pub async fn create(&self, config: &IdpConfig) -> Result<bool, Fault> {
        let item = rows::item(connect::idp(&config.tenant_id, &config.name), config)?;
        let put = self.table.put(item).condition_expression("attribute_not_exists(pk)");
        let made = put_if(put, "writing an identity provider").await?;
        self.cache.forget(&(config.tenant_id.clone(), config.name.clone()));
        Ok(made)
    }

    /// Replaces a provider, if it is still of the revision that was read. False where it is not.
    pub async fn replace(&self, config: &mut IdpConfig) -> Result<bool, Fault> {
        let before = config.revision;
        config.revision += 1;
        let item = rows::item(connect::idp(&config.tenant_id, &config.name), &*config)?;
        let put = self
            .table
            .put(item)
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", AttributeValue::N(before.to_string()));
        let replaced = put_if(put, "writing an identity provider").await?;
        self.cache.forget(&(config.tenant_id.clone(), config.name.clone()));
        Ok(replaced)
    }

    /// Deletes a provider.
    pub async fn delete(&self, tenant: &TenantId, name: &IdpName) -> Result<(), Fault> {
        let delete = self.table.delete(connect::idp(tenant, name)).send().await;
        self.cache.forget(&(tenant.clone(), name.clone()));
        delete.map(|_| ()).map_err(Fault::on("deleting an identity provider"))
    }

    /// All providers of a tenant's own, by name.
    pub async fn list(&self, tenant: &TenantId, limit: usize) -> Result<Vec<IdpConfig>, Fault> {
        let last = format!("{}~", connect::IDPS);
        let span = Span { pk: tenant.to_string(), first: connect::IDPS.to_owned(), last };
        let read =
            |item| serde_dynamo::from_item(item).map(Some).map_err(Fault::on("reading an identity provider"));
        self.table.page(span, Order::ByName, limit, "listing identity providers", read).await
    }

    /// What a tenant has set about connect sessions.
    pub async fn settings(&self, tenant: &TenantId) -> Result<ConnectSettings, Fault> {
        Ok(self.table.get_row(connect::connect_settings(tenant), true).await?.unwrap_or_default())
    }

    /// Sets that.
    pub async fn set_settings(&self, tenant: &TenantId, settings: &ConnectSettings) -> Result<(), Fault> {
        let put = self.table.put(rows::item(connect::connect_settings(tenant), settings)?);
        put_if(put, "writing the settings of connect sessions").await.map(|_| ())
    }
}
