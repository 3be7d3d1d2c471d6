//! Hosts that were slow lately, as far as this function knows. Slowness is stored per endpoint, and observed
//! by an attempt that holds the fast lane up. Where many endpoints of a tenant are at one host, one such
//! attempt is enough for all of them.

use domain::{
    TenantId,
    endpoint::{Endpoint, health::SLOW_FOR},
};
use url::Url;

use crate::runtime::cache::Cache;

/// Hosts that are remembered.
const HOSTS: usize = 1000;

/// The slow hosts of each tenant: what one tenant's endpoints do must not move another's.
#[derive(Debug)]
pub(super) struct SlowHosts(Cache<(TenantId, String), ()>);

impl SlowHosts {
    pub(super) fn new() -> Self {
        Self(Cache::new(SLOW_FOR, HOSTS))
    }

    pub(super) fn add(&self, owner: &TenantId, endpoint: &Endpoint) {
        if let Some(host) = host(endpoint) {
            self.0.put((owner.clone(), host), ());
        }
    }

    pub(super) fn has(&self, owner: &TenantId, endpoint: &Endpoint) -> bool {
        // Most functions know of none, and a URL costs some time to parse.
        !self.0.is_empty() && host(endpoint).is_some_and(|host| self.0.get(&(owner.clone(), host)).is_some())
    }
}

fn host(endpoint: &Endpoint) -> Option<String> {
    Some(Url::parse(&endpoint.url).ok()?.host_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use domain::{EndpointId, Timestamp};

    use super::*;

    #[test]
    fn a_slow_host_is_slow_for_all_endpoints_of_its_tenant_there() {
        let endpoint = |url: &str| {
            let id = EndpointId::new(Timestamp::EPOCH, [0; 10]);
            Endpoint { url: url.to_owned(), ..Endpoint::blank(id, Timestamp::EPOCH) }
        };
        let [one, other]: [TenantId; 2] = ["one", "other"].map(|tenant| tenant.parse().unwrap());
        let hosts = SlowHosts::new();
        assert!(!hosts.has(&one, &endpoint("https://slow.example/a")));
        hosts.add(&one, &endpoint("https://slow.example/a"));
        for (tenant, url, slow) in [
            (&one, "https://slow.example/a", true),
            (&one, "https://slow.example:8443/b?c", true),
            (&one, "https://fast.example/a", false),
            (&other, "https://slow.example/a", false),
            (&one, "no URL", false),
        ] {
            assert_eq!(hosts.has(tenant, &endpoint(url)), slow, "{tenant} {url}");
        }
    }
}
