//! How a request becomes a typed call and a typed response: routes, parameters, bodies. No resource is known here.

pub(crate) mod body;
pub(crate) mod route;
