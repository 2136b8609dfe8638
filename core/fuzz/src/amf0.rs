//! AMF0: what is decoded is within its limits, and survives being written.

use bytes::BytesMut;
use forebay::amf0::{Amf0Error, Decoder, Limits, Value, encode};
use forebay::rtmp::command::Command;
use forebay::rtmp::message::message_type;

use crate::pieces::split;

/// Low enough that short inputs reach them.
const LIMITS: Limits = Limits { depth_max: 6, elements_max: 48 };

/// Panics if decoding `data` behind its first byte breaks a promise. An odd first byte
/// means low limits.
pub fn check(data: &[u8]) {
    let Some((choice, message)) = split(data) else { return };
    let limits = if choice & 1 == 1 { LIMITS } else { Limits::default() };
    let (values, error) = decode(message, limits);
    let elements: usize = values.iter().map(count).sum();
    assert!(elements <= limits.elements_max, "{elements} values, the limit is {limits:?}");
    let depth = values.iter().map(depth).max().unwrap_or(0);
    assert!(depth <= limits.depth_max.into(), "{depth} levels, the limit is {limits:?}");
    error.iter().for_each(|error| check_error(error, message.len(), limits));

    // As text because NaN is not equal to itself.
    let wire = encode_all(&values);
    let (again, error) = decode(&wire, limits);
    assert_eq!(error, None, "{values:?} cannot be read back from {wire:02x?}");
    assert_eq!(format!("{again:?}"), format!("{values:?}"));
    assert_eq!(encode_all(&again), wire, "written twice, it differs: {values:?}");

    for type_id in [message_type::COMMAND_AMF0, message_type::COMMAND_AMF3] {
        if let Ok(command) = Command::parse(type_id, message, limits) {
            let values = std::iter::once(&command.object).chain(&command.arguments);
            assert!(values.map(count).sum::<usize>() < limits.elements_max);
        }
    }
}

fn decode(message: &[u8], limits: Limits) -> (Vec<Value<'_>>, Option<Amf0Error>) {
    let mut decoder = Decoder::new(message, limits);
    let mut values = Vec::new();
    loop {
        let offset = decoder.offset();
        match decoder.next_value() {
            Ok(Some(value)) => {
                assert!((offset + 1..=message.len()).contains(&decoder.offset()));
                values.push(value);
            }
            Ok(None) => {
                assert_eq!(offset, message.len());
                return (values, None);
            }
            Err(error) => {
                assert_eq!(decoder.offset(), offset, "an error consumed something");
                assert_eq!(decoder.next_value().as_ref(), Err(&error), "asked twice");
                return (values, Some(error));
            }
        }
    }
}

fn encode_all(values: &[Value<'_>]) -> BytesMut {
    let mut wire = BytesMut::new();
    values.iter().for_each(|value| encode(value, &mut wire));
    wire
}

fn inside<'a>(value: &'a Value<'a>) -> Box<dyn Iterator<Item = &'a Value<'a>> + 'a> {
    match value {
        Value::StrictArray(values) => Box::new(values.iter()),
        _ => Box::new(value.entries().unwrap_or_default().iter().map(|(_, value)| value)),
    }
}

fn count(value: &Value<'_>) -> usize {
    1 + inside(value).map(count).sum::<usize>()
}

fn depth(value: &Value<'_>) -> usize {
    let is_nested = matches!(value, Value::StrictArray(_)) || value.entries().is_some();
    usize::from(is_nested) + inside(value).map(depth).max().unwrap_or(0)
}

/// What an error says about the message is true.
fn check_error(error: &Amf0Error, message_len: usize, limits: Limits) {
    match *error {
        Amf0Error::PastEnd { len, at, left, .. } => {
            assert!(at + left == message_len && len > left, "{error}");
        }
        Amf0Error::CountPastEnd { count, at, left } => {
            assert!(at + left == message_len && count > left, "{error}");
        }
        Amf0Error::NoValue { at } => assert_eq!(at, message_len, "{error}"),
        Amf0Error::TooDeep { at, max } => {
            assert!(at < message_len && max == limits.depth_max, "{error}");
        }
        Amf0Error::TooManyElements { at, max } => {
            assert!(at < message_len && max == limits.elements_max, "{error}");
        }
        Amf0Error::StrayObjectEnd { at }
        | Amf0Error::UnknownMarker { at, .. }
        | Amf0Error::Amf3Marker { at, .. }
        | Amf0Error::Amf3StringReference { at, .. } => assert!(at < message_len, "{error}"),
    }
}
