//! Where the services of a region are, for requests that are made without the SDK.

use crate::runtime::config::Runtime;

/// The domains of the partitions whose regions begin so.
/// Source: the list of partitions in the SDK (`endpoint_lib/partition.rs` of each of its crates).
const DOMAINS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
];

/// The domain of all services of a region.
pub(super) fn domain(region: &str) -> &'static str {
    DOMAINS
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("amazonaws.com", |(_, domain)| domain)
}

/// The URL of a service (<https://docs.aws.amazon.com/general/latest/gr/rande.html>), or of the local stack.
pub(super) fn url(runtime: &Runtime, service: &str) -> String {
    match &runtime.endpoint_url {
        Some(url) => format!("{}/", url.trim_end_matches('/')),
        None => format!("https://{service}.{}.{}/", runtime.region, domain(&runtime.region)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_a_domain() {
        for (region, expected) in [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-north-1", "amazonaws.com.cn"),
            ("eusc-de-east-1", "amazonaws.eu"),
            ("eu-isoe-west-1", "cloud.adc-e.uk"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("us-isof-south-1", "csp.hci.ic.gov"),
        ] {
            assert_eq!(domain(region), expected, "{region}");
        }
    }
}
