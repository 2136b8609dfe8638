//! `onMetaData` as JSON values.

use serde_json::{Map, Number, Value as Json};

use crate::amf0::{Decoder, Limits, Value};
use crate::rope::Rope;

/// A keyframe index of a recording of a day has 86 400 entries.
const LIMITS: Limits = Limits { depth_max: 16, elements_max: 1 << 18 };
/// Longer metadata are not read, in bytes.
const LEN_MAX: usize = 4 << 20;

/// The properties of `onMetaData`, by name. An error says why they cannot be read.
pub(super) fn read(payload: &Rope) -> Result<Map<String, Json>, String> {
    if payload.len() > LEN_MAX {
        return Err(format!("{} bytes, which are too many", payload.len()));
    }
    let bytes = payload.to_bytes();
    let mut decoder = Decoder::new(&bytes, LIMITS);
    loop {
        match decoder.next_value() {
            Ok(Some(value)) => {
                if let Some(entries) = value.entries() {
                    return Ok(to_map(entries));
                }
            }
            Ok(None) => return Err("no object in it".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn to_map(entries: &[(&[u8], Value<'_>)]) -> Map<String, Json> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    entries.iter().map(|(key, value)| (text(key), to_json(value))).collect()
}

fn to_json(value: &Value<'_>) -> Json {
    match value {
        Value::Number(number) => to_number(*number),
        Value::Boolean(boolean) => Json::Bool(*boolean),
        Value::String(bytes) | Value::XmlDocument(bytes) => {
            Json::String(String::from_utf8_lossy(bytes).into_owned())
        }
        Value::StrictArray(values) => values.iter().map(to_json).collect(),
        Value::Date { unix_ms, .. } => to_number(*unix_ms),
        Value::Object(entries) | Value::EcmaArray(entries) | Value::TypedObject { entries, .. } => {
            Json::Object(to_map(entries))
        }
        Value::Null | Value::Undefined | Value::Reference(_) | Value::Unsupported => Json::Null,
    }
}

/// Whole numbers without a point, as everybody writes them; NaN and the infinities as text.
fn to_number(number: f64) -> Json {
    const WHOLE_MAX: f64 = (1u64 << 53) as f64;
    if number.trunc() == number && number.abs() < WHOLE_MAX {
        return Json::Number(Number::from(number as i64));
    }
    Number::from_f64(number).map_or_else(|| Json::String(number.to_string()), Json::Number)
}
