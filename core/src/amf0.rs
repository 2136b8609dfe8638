//! AMF0 values to and from bytes: borrowed from the message, limited in depth and count.
//!
//! Sections are those of Adobe's AMF 0 specification unless AMF 3 is named.

mod decode;
mod encode;

use std::borrow::Cow;
use std::fmt;

pub use decode::{Amf0Error, Decoder, Limits};
pub use encode::{
    begin_ecma_array, begin_object, begin_strict_array, encode, end_object, write_boolean,
    write_key, write_null, write_number, write_string, write_undefined,
};

/// The byte in front of a value (2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const STRING: u8 = 0x02;
    pub(super) const OBJECT: u8 = 0x03;
    pub(super) const NULL: u8 = 0x05;
    pub(super) const UNDEFINED: u8 = 0x06;
    pub(super) const REFERENCE: u8 = 0x07;
    pub(super) const ECMA_ARRAY: u8 = 0x08;
    pub(super) const OBJECT_END: u8 = 0x09;
    pub(super) const STRICT_ARRAY: u8 = 0x0a;
    pub(super) const DATE: u8 = 0x0b;
    pub(super) const LONG_STRING: u8 = 0x0c;
    pub(super) const UNSUPPORTED: u8 = 0x0d;
    pub(super) const XML_DOCUMENT: u8 = 0x0f;
    pub(super) const TYPED_OBJECT: u8 = 0x10;
    /// The next value, and only that one, is AMF3 (3.1).
    pub(super) const AMF3: u8 = 0x11;
}

/// A key and its value. Keys are at most 65535 bytes and need not be UTF-8 or unique.
pub type Entry<'a> = (&'a [u8], Value<'a>);

/// One AMF0 value (2.1). Strings are the bytes of the message, whatever they contain.
///
/// A decoded value is at most 256 levels deep, whatever the [`Limits`]. Debugging, encoding and
/// dropping recurse: whoever builds a value by hand keeps it as flat.
#[derive(Clone, PartialEq)]
pub enum Value<'a> {
    /// 2.2. NaN and the infinities are numbers too.
    Number(f64),
    /// 2.3.
    Boolean(bool),
    /// 2.4 and 2.14: which of the two it was, its length says when it is written.
    String(&'a [u8]),
    /// 2.5. Entries in the order of the message.
    Object(Vec<Entry<'a>>),
    /// 2.7.
    Null,
    /// 2.8.
    Undefined,
    /// 2.9: the index of an object earlier in the message. Never followed: no RTMP peer needs it,
    /// and a few bytes could stand for a cycle.
    Reference(u16),
    /// 2.10. Entries in the order of the message; the count in front of them is only a hint.
    EcmaArray(Vec<Entry<'a>>),
    /// 2.12.
    StrictArray(Vec<Value<'a>>),
    /// 2.13.
    Date {
        /// Milliseconds since 1970 in UTC, by a peer's word: NaN and infinity included.
        unix_ms: f64,
        /// Reserved and to be zero; in practice the peer's offset from UTC in minutes.
        timezone: i16,
    },
    /// 2.15: the peer had a value AMF0 cannot express.
    Unsupported,
    /// 2.17.
    XmlDocument(&'a [u8]),
    /// 2.18.
    TypedObject {
        /// At most 65535 bytes.
        class_name: &'a [u8],
        /// In the order of the message.
        entries: Vec<Entry<'a>>,
    },
}

impl<'a> Value<'a> {
    /// The number, if it is one. It may be NaN or infinite: [`Value::as_u32`] may not.
    pub fn as_number(&self) -> Option<f64> {
        match *self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The number, if it is a whole one from 0 to 2^32 - 1: a message stream id, a FourCC, a count.
    pub fn as_u32(&self) -> Option<u32> {
        let number = self.as_number()?;
        // A cast saturates and turns NaN into 0; only a number that fits comes back as it went.
        let whole = number as u32;
        (f64::from(whole) == number).then_some(whole)
    }

    /// The boolean, if it is one. A number is not.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Boolean(boolean) => Some(boolean),
            _ => None,
        }
    }

    /// The bytes of the string, if it is one. Compare names by these: two names that differ in one
    /// byte are two names.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The string, if it is one and valid UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The string for a person to read. Different bytes may look the same: never a name.
    pub fn to_str_lossy(&self) -> Option<Cow<'a, str>> {
        self.as_bytes().map(String::from_utf8_lossy)
    }

    /// The entries of an object, a typed object or an ECMA array.
    pub fn entries(&self) -> Option<&[Entry<'a>]> {
        match self {
            Self::Object(entries)
            | Self::EcmaArray(entries)
            | Self::TypedObject { entries, .. } => Some(entries),
            _ => None,
        }
    }

    /// What an object, a typed object or an ECMA array has under `key`. Of entries with the same
    /// key the last counts: each is an assignment.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let found = self.entries()?.iter().rev().find(|(name, _)| *name == key.as_bytes());
        found.map(|(_, value)| value)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
            Self::String(bytes) => Text(bytes).fmt(f),
            Self::Object(entries) => Entries(entries).fmt(f),
            Self::Null => f.write_str("Null"),
            Self::Undefined => f.write_str("Undefined"),
            Self::Reference(index) => f.debug_tuple("Reference").field(index).finish(),
            Self::EcmaArray(entries) => {
                f.debug_tuple("EcmaArray").field(&Entries(entries)).finish()
            }
            Self::StrictArray(values) => f.debug_list().entries(values).finish(),
            Self::Date { unix_ms, timezone } => f
                .debug_struct("Date")
                .field("unix_ms", unix_ms)
                .field("timezone", timezone)
                .finish(),
            Self::Unsupported => f.write_str("Unsupported"),
            Self::XmlDocument(bytes) => f.debug_tuple("XmlDocument").field(&Text(bytes)).finish(),
            Self::TypedObject { class_name, entries } => f
                .debug_tuple("TypedObject")
                .field(&Text(class_name))
                .field(&Entries(entries))
                .finish(),
        }
    }
}

/// Bytes as text with everything a terminal would act on escaped, so that a peer cannot forge a
/// line of the log.
struct Text<'a>(&'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) => text.fmt(f),
            Err(_) => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}

struct Entries<'a>(&'a [Entry<'a>]);

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (Text(key), value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_entries_with_one_key_the_last_counts() {
        let value = Value::Object(vec![
            (b"app", Value::String(b"first")),
            (b"app", Value::String(b"last")),
            (b"App", Value::String(b"another key")),
        ]);
        assert_eq!(value.get("app").and_then(Value::as_str), Some("last"));
        assert_eq!(value.get("ap"), None);
    }

    #[test]
    fn only_a_whole_number_that_fits_is_a_u32() {
        for (number, whole) in [
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (4_294_967_295.0, Some(u32::MAX)),
            (4_294_967_296.0, None),
            (-1.0, None),
            (0.5, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (f64::NEG_INFINITY, None),
        ] {
            assert_eq!(Value::Number(number).as_u32(), whole, "{number}");
        }
    }

    #[test]
    fn debug_escapes_what_a_log_must_not_contain() {
        let value = Value::Object(vec![
            (b"app", Value::String(b"live\n2030-01-01 ERROR forged\x1b[31m")),
            (b"\xff", Value::String(b"caf\xc3\xa9 \xff")),
        ]);
        let text = format!("{value:?}");
        assert_eq!(
            text,
            r#"{"app": "live\n2030-01-01 ERROR forged\u{1b}[31m", b"\xff": b"caf\xc3\xa9 \xff"}"#
        );
    }
}
