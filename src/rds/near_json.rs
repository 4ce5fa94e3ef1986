//! JSON that is nearly what a parser expects, for its properties: bytes at random hardly ever get past the first of them.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// `valid`, of which up to four parts were replaced by, or given, something else: any JSON, with some of `texts` in it.
pub(crate) fn near(
    valid: Value,
    texts: &'static [&'static str],
) -> impl Strategy<Value = Value> + Clone {
    let damage = (any::<Index>(), any::<bool>(), any_json(texts));
    proptest::collection::vec(damage, 0..=4).prop_map(move |damages| {
        let mut value = valid.clone();
        for (at, is_addition, other) in damages {
            let mut pointers = Vec::new();
            collect(&value, String::new(), &mut pointers);
            let pointer = at.get(&pointers);
            match value.pointer_mut(pointer) {
                Some(Value::Object(fields)) if is_addition => {
                    fields.insert("another".to_owned(), other);
                }
                Some(Value::Array(items)) if is_addition => items.insert(0, other),
                Some(part) => *part = other,
                None => {}
            }
        }
        value
    })
}

/// Any JSON that is not too large.
fn any_json(texts: &'static [&'static str]) -> impl Strategy<Value = Value> + Clone {
    let text = move || prop_oneof![select(texts).prop_map(str::to_owned), ".{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The pointers (RFC 6901) of all parts.
fn collect(value: &Value, pointer: String, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(inner, format!("{pointer}/{name}"), into);
            }
        }
        Value::Array(items) => {
            for (number, inner) in items.iter().enumerate() {
                collect(inner, format!("{pointer}/{number}"), into);
            }
        }
        _ => {}
    }
    into.push(pointer);
}
