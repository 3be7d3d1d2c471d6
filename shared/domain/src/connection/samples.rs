//! What the tests of this folder share.

use serde_json::{Value, json};

use super::Idp;

/// A row with no more than its addresses, and these fields.
pub(super) fn idp(more: Value) -> Idp {
    let mut row = json!({
        "title": "Example", "authorize_url": "https://idp.example/authorize", "token_url": "https://idp.example/token"
    });
    merge(&mut row, more);
    serde_json::from_value(row).unwrap()
}

/// Puts the members of an object into another one; null takes a member out.
pub(super) fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    let object = into.as_object_mut().unwrap();
    for (name, value) in more {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
}
