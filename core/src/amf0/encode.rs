//! Values to bytes, whole or piece by piece.

use bytes::{BufMut, BytesMut};

use super::{Entry, Value, marker};

/// Appends `value` to `out`.
///
/// # Panics
///
/// If a key or a class name is longer than 65535 bytes. Decoded ones never are.
pub fn encode(value: &Value<'_>, out: &mut BytesMut) {
    match value {
        Value::Number(number) => write_number(*number, out),
        Value::Boolean(boolean) => write_boolean(*boolean, out),
        Value::String(bytes) => write_string(bytes, out),
        Value::Object(entries) => {
            begin_object(out);
            write_entries(entries, out);
        }
        Value::Null => write_null(out),
        Value::Undefined => write_undefined(out),
        Value::Reference(index) => {
            out.put_u8(marker::REFERENCE);
            out.put_u16(*index);
        }
        Value::EcmaArray(entries) => {
            begin_ecma_array(entries.len(), out);
            write_entries(entries, out);
        }
        Value::StrictArray(values) => {
            begin_strict_array(values.len(), out);
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Date { unix_ms, timezone } => {
            out.put_u8(marker::DATE);
            out.put_f64(*unix_ms);
            out.put_i16(*timezone);
        }
        Value::Unsupported => out.put_u8(marker::UNSUPPORTED),
        Value::XmlDocument(bytes) => {
            out.put_u8(marker::XML_DOCUMENT);
            write_long(bytes, out);
        }
        Value::TypedObject { class_name, entries } => {
            out.put_u8(marker::TYPED_OBJECT);
            write_key(class_name, out);
            write_entries(entries, out);
        }
    }
}

fn write_entries(entries: &[Entry<'_>], out: &mut BytesMut) {
    for (key, value) in entries {
        write_key(key, out);
        encode(value, out);
    }
    end_object(out);
}

/// Appends a number (2.2).
pub fn write_number(number: f64, out: &mut BytesMut) {
    out.put_u8(marker::NUMBER);
    out.put_f64(number);
}

/// Appends a boolean (2.3).
pub fn write_boolean(boolean: bool, out: &mut BytesMut) {
    out.put_slice(&[marker::BOOLEAN, boolean.into()]);
}

/// Appends a string (2.4); past 65535 bytes a long string (2.14).
pub fn write_string(string: impl AsRef<[u8]>, out: &mut BytesMut) {
    let bytes = string.as_ref();
    match u16::try_from(bytes.len()) {
        Ok(len) => {
            out.put_u8(marker::STRING);
            out.put_u16(len);
            out.put_slice(bytes);
        }
        Err(_) => {
            out.put_u8(marker::LONG_STRING);
            write_long(bytes, out);
        }
    }
}

/// Appends a null (2.7).
pub fn write_null(out: &mut BytesMut) {
    out.put_u8(marker::NULL);
}

/// Appends an undefined (2.8).
pub fn write_undefined(out: &mut BytesMut) {
    out.put_u8(marker::UNDEFINED);
}

/// Starts an object (2.5): then keys and values in turn, then [`end_object`].
pub fn begin_object(out: &mut BytesMut) {
    out.put_u8(marker::OBJECT);
}

/// Starts an ECMA array (2.10) of `count` entries: then keys and values in turn, then
/// [`end_object`]. Readers take the count for a hint, so 0 is fine when it is not known yet.
pub fn begin_ecma_array(count: usize, out: &mut BytesMut) {
    out.put_u8(marker::ECMA_ARRAY);
    out.put_u32(long(count));
}

/// Starts a strict array (2.12): exactly `count` values follow, and nothing ends it.
pub fn begin_strict_array(count: usize, out: &mut BytesMut) {
    out.put_u8(marker::STRICT_ARRAY);
    out.put_u32(long(count));
}

/// Appends the key of the next value in an object or ECMA array.
///
/// # Panics
///
/// If it is longer than 65535 bytes: AMF0 has no long keys.
pub fn write_key(key: impl AsRef<[u8]>, out: &mut BytesMut) {
    let bytes = key.as_ref();
    let len = u16::try_from(bytes.len()).expect("keys and class names have at most 65535 bytes");
    out.put_u16(len);
    out.put_slice(bytes);
}

/// Ends an object or ECMA array (2.11): an empty key and the end marker.
pub fn end_object(out: &mut BytesMut) {
    out.put_slice(&[0, 0, marker::OBJECT_END]);
}

fn write_long(bytes: &[u8], out: &mut BytesMut) {
    out.put_u32(long(bytes.len()));
    out.put_slice(bytes);
}

fn long(len: usize) -> u32 {
    u32::try_from(len).expect("nothing in a message reaches 4 GiB: messages have 16 MiB at most")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_without_a_tree() {
        let mut out = BytesMut::new();
        write_string("onStatus", &mut out);
        write_number(0.0, &mut out);
        write_null(&mut out);
        begin_object(&mut out);
        write_key("level", &mut out);
        write_string("status", &mut out);
        write_key("ok", &mut out);
        write_boolean(true, &mut out);
        end_object(&mut out);
        begin_ecma_array(1, &mut out);
        write_key(b"\xff", &mut out);
        write_undefined(&mut out);
        end_object(&mut out);
        begin_strict_array(1, &mut out);
        write_boolean(false, &mut out);
        let parts: [&[u8]; 6] = [
            b"\x02\0\x08onStatus",
            b"\x00\0\0\0\0\0\0\0\0",
            b"\x05",
            b"\x03\0\x05level\x02\0\x06status\0\x02ok\x01\x01\0\0\x09",
            b"\x08\0\0\0\x01\0\x01\xff\x06\0\0\x09",
            b"\x0a\0\0\0\x01\x01\0",
        ];
        assert_eq!(out, parts.concat());
    }

    #[test]
    #[should_panic(expected = "at most 65535 bytes")]
    fn a_key_that_cannot_be_written_is_our_mistake() {
        write_key([b'k'; 65_536], &mut BytesMut::new());
    }
}
