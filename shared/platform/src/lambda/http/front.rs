//! What is in front of the API, such as `CloudFront` with a firewall. It adds a secret to each request, so that requests
//! which avoid it are refused, and names the client, whose address the API would not see otherwise.

use domain::Secret;

use super::Request;
use crate::lambda::problem::{Kind, Problem};

/// The header with the secret.
const SECRET: &str = "x-front-secret";

/// The header with the client's address.
const CLIENT: &str = "x-front-client";

/// What is in front, by the secrets that it may send: none if nothing is in front, two while they change.
pub(super) struct Front(Vec<Secret>);

impl Front {
    pub(super) const fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }

    /// The request as the client sent it to the front; else what it is refused with.
    pub(super) fn admit(&self, mut request: Request) -> Result<Request, Problem> {
        if self.0.is_empty() {
            return Ok(request);
        }
        // Both are removed: what is logged and shown of a request may not hold the secret.
        let client = request.header(CLIENT).map(str::to_owned);
        let sent = request.header(SECRET).map(|text| Secret::new(text.to_owned()));
        request.headers.remove(SECRET);
        request.headers.remove(CLIENT);
        if !sent.is_some_and(|sent| self.0.contains(&sent)) {
            return Err(Problem::new(Kind::Forbidden, "use the public address of this API"));
        }
        request.source_ip = client.or(request.source_ip);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, StatusCode};

    use super::*;

    #[test]
    fn only_what_came_through_the_front_is_admitted() {
        let both = ["one", "two"];
        for (secrets, sent, client, expected) in [
            (&both[..0], None, None, Ok("192.0.2.1")),
            (&both[..0], Some("one"), Some("198.51.100.7"), Ok("192.0.2.1")),
            (&both[..], Some("one"), Some("198.51.100.7"), Ok("198.51.100.7")),
            (&both[..], Some("two"), Some("2001:db8::7"), Ok("2001:db8::7")),
            (&both[..], Some("two"), None, Ok("192.0.2.1")),
            (&both[..], Some("three"), Some("198.51.100.7"), Err(StatusCode::FORBIDDEN)),
            (&both[..], Some(""), None, Err(StatusCode::FORBIDDEN)),
            (&both[..], None, Some("198.51.100.7"), Err(StatusCode::FORBIDDEN)),
        ] {
            let front = Front::new(secrets.iter().map(|text| Secret::new((*text).to_owned())).collect());
            let mut headers = HeaderMap::new();
            for (name, value) in [(SECRET, sent), (CLIENT, client)] {
                value.map(|value| headers.insert(name, HeaderValue::from_static(value)));
            }
            let request = Request {
                method: Method::GET,
                path: "/v1/me".to_owned(),
                query: Vec::new(),
                raw_query: String::new(),
                headers,
                body: Vec::new(),
                id: "req".to_owned(),
                source_ip: Some("192.0.2.1".to_owned()),
                base_url: String::new(),
            };
            let admitted = front.admit(request);
            let shown = admitted.as_ref().map(|request| request.source_ip.as_deref().unwrap_or_default());
            assert_eq!(
                shown.map_err(|problem| problem.kind.status()),
                expected,
                "{secrets:?} {sent:?} {client:?}"
            );
            if let Ok(request) = &admitted {
                assert_eq!(request.headers.is_empty(), !secrets.is_empty() || sent.is_none());
            }
        }
    }
}
