//! Typed access to the fields of a JSON row, with complaints that name the field.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};

use super::normalise::strip;

pub(crate) type Object = Map<String, Value>;

/// A row is one JSON object.
pub(crate) fn parse_row(text: &str) -> Result<Object> {
    let value: Value = serde_json::from_str(text).map_err(bad_json)?;
    object(value, "the row")
}

/// serde_json counts lines within the text that it was given, which is one line of ours: only the column says something.
pub(crate) fn bad_json(error: serde_json::Error) -> anyhow::Error {
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let reason = message.strip_suffix(&suffix).unwrap_or(&message);
    anyhow!("bad JSON: {reason} (column {})", error.column())
}

pub(crate) fn object(value: Value, what: &str) -> Result<Object> {
    match value {
        Value::Object(object) => Ok(object),
        other => bail!("{what} is {}, not an object", kind(&other)),
    }
}

/// A required id: a string or an integer in the file, a string without outer whitespace here.
pub(crate) fn id(object: &Object, key: &str) -> Result<String> {
    match object.get(key) {
        None | Some(Value::Null) => bail!("`{key}` is missing"),
        Some(Value::String(text)) if strip(text).is_empty() => bail!("`{key}` is empty"),
        Some(Value::String(text)) => Ok(strip(text).to_string()),
        Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
        Some(other) => bail!("`{key}` is {}, not a string or an integer", kind(other)),
    }
}

/// An optional string; null is none.
pub(crate) fn text(object: &mut Object, key: &str) -> Result<Option<String>> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => bail!("`{key}` is {}, not a string", kind(&other)),
    }
}

/// An optional integer, which some files write as a string; null is none.
pub(crate) fn integer(object: &Object, key: &str) -> Result<Option<i64>> {
    let found = match object.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => strip(text).parse().ok(),
        Some(other) => other.as_i64(),
    };
    found.map(Some).with_context(|| format!("`{key}` is {}, not an integer", object[key]))
}

/// An optional number; null is none.
pub(crate) fn number(object: &Object, key: &str) -> Result<Option<f64>> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).with_context(|| format!("`{key}` is {}, not a number", kind(value))),
    }
}

/// An optional list. Null is no list: whether the key is there changes the scores.
pub(crate) fn list(object: &mut Object, key: &str) -> Result<Option<Vec<Value>>> {
    match object.remove(key) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => bail!("`{key}` is {}, not a list", kind(&other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
