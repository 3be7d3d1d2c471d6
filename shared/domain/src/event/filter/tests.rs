use proptest::prelude::*;
use serde_json::json;

use super::*;

fn filter(value: &Value) -> ContentFilter {
    ContentFilter::parse(value).unwrap_or_else(|invalid| panic!("{value}: {invalid}"))
}

#[test]
fn conditions_hold_or_not() {
    let data = json!({
        "amount": 100, "rate": 0.5, "big": 9_007_199_254_740_993_i64, "currency": "EUR", "won": true,
        "owner": null, "tags": ["vip", 7, "west"], "address": { "zip": "10115", "a/b": 1, "m~n": 2 },
        "at": "2026-11-24T10:00:00Z", "": { "": 1 }, "lines": [{ "sku": "A1" }, { "sku": "B2" }],
    });
    for (condition, holds) in [
        (json!({ "/currency": "EUR" }), true),
        (json!({ "/currency": "eur" }), false),
        (json!({ "/amount": 100 }), true),
        (json!({ "/amount": 100.0 }), true),
        (json!({ "/amount": "100" }), false),
        (json!({ "/won": true }), true),
        (json!({ "/owner": null }), true),
        (json!({ "/nothing": null }), false),
        (json!({ "/address/zip": "10115" }), true),
        (json!({ "/address/a~1b": 1, "/address/m~0n": 2 }), true),
        (json!({ "/lines/1/sku": "B2" }), true),
        (json!({ "/lines/01/sku": "B2" }), false),
        (json!({ "/lines/2/sku": "B2" }), false),
        (json!({ "//": 1 }), true),
        (json!({ "/address": { "eq": null } }), false),
        (json!({ "/currency": { "ne": "USD" } }), true),
        (json!({ "/currency": { "ne": "EUR" } }), false),
        (json!({ "/nothing": { "ne": "EUR" } }), true),
        (json!({ "/nothing": { "exists": false } }), true),
        (json!({ "/nothing": { "exists": true } }), false),
        (json!({ "/owner": { "exists": true } }), true),
        (json!({ "/owner": { "exists": false } }), false),
        (json!({ "/nothing": { "lt": 5 } }), false),
        (json!({ "/nothing": { "in": [null] } }), false),
        (json!({ "/currency": { "in": ["USD", "EUR"] } }), true),
        (json!({ "/amount": { "in": [1, 100.0] } }), true),
        (json!({ "/currency": { "in": ["USD"] } }), false),
        (json!({ "/amount": { "gt": 99, "lt": 101 } }), true),
        (json!({ "/amount": { "gte": 100, "lte": 100 } }), true),
        (json!({ "/amount": { "gt": 100 } }), false),
        (json!({ "/amount": { "gt": 99.5 } }), true),
        (json!({ "/amount": { "gt": "1" } }), false),
        (json!({ "/rate": { "lt": 1 } }), true),
        (json!({ "/rate": { "gt": -1 } }), true),
        (json!({ "/at": { "gte": "2026-11-24", "lt": "2026-11-25" } }), true),
        (json!({ "/at": { "gte": "2026-11-25" } }), false),
        // One more than what a float can hold.
        (json!({ "/big": 9_007_199_254_740_992_i64 }), false),
        (json!({ "/big": { "gt": 9_007_199_254_740_992.0 } }), true),
        (json!({ "/currency": { "starts_with": "EU" } }), true),
        (json!({ "/amount": { "starts_with": "1" } }), false),
        (json!({ "/currency": { "contains": "UR" } }), true),
        (json!({ "/tags": { "contains": "vip" } }), true),
        (json!({ "/tags": { "contains": 7.0 } }), true),
        (json!({ "/tags": { "contains": "vi" } }), false),
        (json!({ "/currency": { "contains": 7 } }), false),
        (json!({ "/address": { "contains": "zip" } }), false),
        (json!({ "/currency": "EUR", "/amount": 1 }), false),
        (json!({ "any": [{ "/amount": 1 }, { "/won": true }] }), true),
        (json!({ "any": [{ "/amount": 1 }, { "/won": false }] }), false),
        (json!({ "/currency": "USD", "any": [{ "/won": true }] }), false),
        (json!({ "any": [{ "/won": true, "/amount": 1 }] }), false),
    ] {
        assert_eq!(filter(&condition).matches(&data), holds, "{condition}");
    }
}

#[test]
fn errors_point_into_the_filter() {
    let many = |count: usize| (0..count).map(|n| (format!("/f{n}"), json!(n))).collect::<Map<_, _>>();
    let alternatives: Vec<_> = (0..21).map(|_| json!({ "/a": 1 })).collect();
    for (value, pointer) in [
        (json!(null), Some("")),
        (json!([]), Some("")),
        (json!({}), Some("")),
        (json!({ "amount": 1 }), Some("/amount")),
        (json!({ "": 1 }), Some("/")),
        (json!({ "/a": [1] }), Some("/~1a")),
        (json!({ "/a": {} }), Some("/~1a")),
        (json!({ "/a~": 1 }), Some("/~1a~0")),
        (json!({ "/a~2": 1 }), Some("/~1a~02")),
        (json!({ "/a~0~1": 1 }), None),
        (json!({ "/a/b": { "gtt": 1 } }), Some("/~1a~1b/gtt")),
        (json!({ "/a": { "gt": true } }), Some("/~1a/gt")),
        (json!({ "/a": { "eq": {} } }), Some("/~1a/eq")),
        (json!({ "/a": { "in": [] } }), Some("/~1a/in")),
        (json!({ "/a": { "in": "x" } }), Some("/~1a/in")),
        (json!({ "/a": { "in": [[1]] } }), Some("/~1a/in")),
        (json!({ "/a": { "in": vec![0; 50] } }), None),
        (json!({ "/a": { "in": vec![0; 51] } }), Some("/~1a/in")),
        (json!({ "/a": { "exists": 1 } }), Some("/~1a/exists")),
        (json!({ "/a": { "starts_with": 1 } }), Some("/~1a/starts_with")),
        (json!({ "any": {} }), Some("/any")),
        (json!({ "any": [] }), Some("/any")),
        (json!({ "any": [{ "/a": 1 }, {}] }), Some("/any/1")),
        (json!({ "any": [{ "/a": 1 }, { "any": [] }] }), Some("/any/1/any")),
        (json!({ "any": [{ "/a": { "lt": null } }] }), Some("/any/0/~1a/lt")),
        (json!({ "any": alternatives }), Some("")),
        (many(20).into(), None),
        (many(21).into(), Some("")),
        (json!({ format!("/{}", "x".repeat(255)): 1 }), None),
        (json!({ format!("/{}", "x".repeat(256)): 1 }), Some(&*format!("/~1{}", "x".repeat(256)))),
        (json!({ "/a": "x".repeat(4080) }), None),
        (json!({ "/a": "x".repeat(4100) }), Some("")),
    ] {
        let found = ContentFilter::parse(&value).err().map(|invalid| invalid.pointer);
        assert_eq!(found.as_deref(), pointer, "{value}");
    }
}

#[test]
fn a_filter_is_shown_as_it_was_given() {
    for value in [
        json!({ "/a": 1 }),
        json!({ "/a": null, "/b": { "gt": 1, "lte": 2.5 }, "any": [{ "/c": "x" }, { "/d": { "in": [1] } }] }),
    ] {
        assert_eq!(serde_json::to_value(filter(&value)).unwrap(), value);
    }
    assert_eq!(filter(&json!({ "/a": { "eq": 1 } })), filter(&json!({ "/a": 1 })));
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ab/~ü]{0,3}".prop_map(Value::from),
    ]
}

fn data() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab/~]{0,2}", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn condition() -> impl Strategy<Value = Value> {
    let operator = prop_oneof![
        ("eq|ne|contains", scalar()),
        ("gt|gte|lt|lte", scalar()),
        (Just("in".to_owned()), prop::collection::vec(scalar(), 1..4).prop_map(Value::from)),
        (Just("exists".to_owned()), any::<bool>().prop_map(Value::from)),
        (Just("starts_with".to_owned()), "[ab]{0,2}".prop_map(Value::from)),
    ];
    let operators = prop::collection::btree_map(operator.clone().prop_map(|(name, _)| name), scalar(), 0..2);
    prop_oneof![
        scalar(),
        operator.prop_map(|(name, operand)| json!({ name: operand })),
        operators.prop_map(|operators| operators.into_iter().collect::<Map<_, _>>().into()),
    ]
}

fn fields() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("(/[ab01~]{0,2}){1,2}", condition(), 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

fn anything() -> impl Strategy<Value = Value> {
    let groups = prop::collection::vec(fields().prop_map(Value::from), 0..3);
    prop_oneof![
        data(),
        (fields(), groups).prop_map(|(mut fields, groups)| {
            if !groups.is_empty() {
                fields.insert(ANY.to_owned(), groups.into());
            }
            Value::from(fields)
        }),
    ]
}

proptest! {
    #[test]
    fn no_filter_and_no_data_panics(value in anything(), data in data()) {
        if let Ok(filter) = ContentFilter::parse(&value) {
            // A reason is given for what does not pass, and for nothing else.
            prop_assert_eq!(filter.matches(&data), filter.failures(&data).is_empty());
            let text = serde_json::to_string(&filter).unwrap();
            prop_assert_eq!(ContentFilter::from_text(&text).unwrap(), filter);
        }
    }

    #[test]
    fn unequal_is_the_opposite_of_equal(data in data(), value in scalar()) {
        let holds = |operator: &str| filter(&json!({ "/a": { operator: value } })).matches(&data);
        prop_assert_ne!(holds("eq"), holds("ne"));
    }

    #[test]
    fn order_is_an_order(a in scalar(), b in scalar()) {
        prop_assert_eq!(order(&a, &b), order(&b, &a).map(Ordering::reverse));
        if let Some(order) = order(&a, &b) {
            prop_assert_eq!(equal(&a, &b), order.is_eq());
        }
    }
}
