//! Section 5, AMF. The bytes are written out by hand from the specification.

use bytes::BytesMut;
use forebay::amf0::{Amf0Error, Decoder, Entry, Limits, Value, encode};
use proptest::prelude::*;

/// Every marker, in its only encoding: what is decoded from the bytes is encoded to the same.
fn amf0_values() -> Vec<(&'static [u8], Value<'static>)> {
    let entries = || vec![(b"w".as_slice(), Value::Number(4.25)), (b"".as_slice(), Value::Null)];
    vec![
        (b"\x00\x40\x11\0\0\0\0\0\0", Value::Number(4.25)),
        (b"\x00\xbf\xf0\0\0\0\0\0\0", Value::Number(-1.0)),
        (b"\x01\x01", Value::Boolean(true)),
        (b"\x01\x00", Value::Boolean(false)),
        (b"\x02\0\x04live", Value::String(b"live")),
        (b"\x02\0\0", Value::String(b"")),
        (b"\x03\0\0\x09", Value::Object(vec![])),
        (b"\x03\0\x01w\x00\x40\x11\0\0\0\0\0\0\0\0\x05\0\0\x09", Value::Object(entries())),
        (
            b"\x03\0\x01o\x03\0\x01a\x0a\0\0\0\x01\x06\0\0\x09\0\0\x09",
            Value::Object(vec![(
                b"o",
                Value::Object(vec![(b"a", Value::StrictArray(vec![Value::Undefined]))]),
            )]),
        ),
        (b"\x05", Value::Null),
        (b"\x06", Value::Undefined),
        (b"\x07\x01\x02", Value::Reference(0x0102)),
        (
            b"\x08\0\0\0\x02\0\x01w\x00\x40\x11\0\0\0\0\0\0\0\0\x05\0\0\x09",
            Value::EcmaArray(entries()),
        ),
        (b"\x0a\0\0\0\0", Value::StrictArray(vec![])),
        (
            b"\x0a\0\0\0\x03\x05\x02\0\x04hvc1\x03\0\0\x09",
            Value::StrictArray(vec![Value::Null, Value::String(b"hvc1"), Value::Object(vec![])]),
        ),
        // 2001-09-09 01:46:40 UTC, an hour west of it.
        (b"\x0b\x42\x6d\x1a\x94\xa2\0\0\0\xff\xc4", Value::Date { unix_ms: 1e12, timezone: -60 }),
        (b"\x0d", Value::Unsupported),
        (b"\x0f\0\0\0\x04<a/>", Value::XmlDocument(b"<a/>")),
        (
            b"\x10\0\x05Point\0\x01w\x00\x40\x11\0\0\0\0\0\0\0\0\x05\0\0\x09",
            Value::TypedObject { class_name: b"Point", entries: entries() },
        ),
    ]
}

/// Encodings that are read and never written.
fn other_encodings() -> Vec<(&'static [u8], Value<'static>)> {
    vec![
        (b"\x01\x7f", Value::Boolean(true)),
        (b"\x0c\0\0\0\x04live", Value::String(b"live")),
        (b"\x11\x00", Value::Undefined),
        (b"\x11\x01", Value::Null),
        (b"\x11\x02", Value::Boolean(false)),
        (b"\x11\x03", Value::Boolean(true)),
        (b"\x11\x04\x7f", Value::Number(127.0)),
        (b"\x11\x04\x81\x00", Value::Number(128.0)),
        (b"\x11\x04\x81\x80\x00", Value::Number(16_384.0)),
        (b"\x11\x04\x80\xc0\x80\x00", Value::Number(2_097_152.0)),
        (b"\x11\x04\xbf\xff\xff\xff", Value::Number(268_435_455.0)),
        (b"\x11\x04\xff\xff\xff\xff", Value::Number(-1.0)),
        (b"\x11\x04\xc0\x80\x80\x00", Value::Number(-268_435_456.0)),
        (b"\x11\x05\x40\x11\0\0\0\0\0\0", Value::Number(4.25)),
        (b"\x11\x06\x09live", Value::String(b"live")),
        (b"\x11\x06\x01", Value::String(b"")),
        (
            b"\x03\0\x01a\x11\x04\x07\0\x01b\x02\0\x01c\0\0\x09",
            Value::Object(vec![(b"a", Value::Number(7.0)), (b"b", Value::String(b"c"))]),
        ),
    ]
}

fn decode_one(message: &[u8]) -> Result<Value<'_>, Amf0Error> {
    Decoder::new(message, Limits::default()).next_value().map(|value| value.unwrap())
}

fn encoded(value: &Value<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    encode(value, &mut out);
    out
}

#[test]
fn am_1_every_marker_decodes() {
    for (bytes, value) in amf0_values().into_iter().chain(other_encodings()) {
        // Two of it, then AMF0 goes on: the end was found, and 0x11 was for one value only.
        let message = [bytes, bytes, b"\x02\0\x03end"].concat();
        let mut decoder = Decoder::new(&message, Limits::default());
        for end in [bytes.len(), 2 * bytes.len()] {
            assert_eq!(decoder.next_value(), Ok(Some(value.clone())), "{bytes:02x?}");
            assert_eq!(decoder.offset(), end, "{bytes:02x?}");
        }
        assert_eq!(decoder.next_value(), Ok(Some(Value::String(b"end"))), "{bytes:02x?}");
        assert_eq!(decoder.next_value(), Ok(None), "{bytes:02x?}");
        assert_eq!(decoder.offset(), message.len());
    }
}

#[test]
fn am_1_every_marker_is_encoded_as_it_was() {
    for (bytes, value) in amf0_values() {
        assert_eq!(encoded(&value), bytes, "{value:?}");
    }
}

#[test]
fn am_1_cut_at_every_byte_is_an_error_or_the_entries_that_arrived() {
    for (bytes, whole) in amf0_values().into_iter().chain(other_encodings()) {
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::new(&bytes[..cut], Limits::default());
            let end = match decoder.next_value() {
                Ok(value) => {
                    let value = value.unwrap();
                    assert!(begins(&value, &whole), "{value:?} of {whole:?}");
                    decoder.offset()
                }
                Err(Amf0Error::PastEnd { len, at, left, .. }) => {
                    assert!(left < len, "{bytes:02x?} at {cut}");
                    at + left
                }
                Err(Amf0Error::CountPastEnd { at, left, .. }) => at + left,
                Err(Amf0Error::NoValue { at }) => at,
                Err(error) => panic!("{bytes:02x?} at {cut}: {error}"),
            };
            assert_eq!(end, cut, "{bytes:02x?}: all that is there was seen, and no more");
        }
    }
}

/// Whether `cut` is `whole` without its last entries, at any depth.
fn begins(cut: &Value<'_>, whole: &Value<'_>) -> bool {
    let (Some(cut), Some(whole)) = (cut.entries(), whole.entries()) else { return cut == whole };
    let Some((last, before)) = cut.split_last() else { return true };
    whole.starts_with(before)
        && whole.get(before.len()).is_some_and(|at| at.0 == last.0 && begins(&last.1, &at.1))
}

#[test]
fn am_1_a_string_of_65536_bytes_is_a_long_string() {
    for len in [65_535, 65_536] {
        let text = vec![b'x'; len];
        let head: &[u8] = if len == 65_535 { b"\x02\xff\xff" } else { b"\x0c\0\x01\0\0" };
        let wire = encoded(&Value::String(&text));
        assert_eq!(wire, [head, &text].concat());
        assert_eq!(decode_one(&wire), Ok(Value::String(&text)));
    }
}

#[test]
fn am_1_what_is_not_a_value_is_refused() {
    let reserved = [0x04, 0x0e].into_iter().chain(0x12..=0xff);
    for marker in reserved {
        let error = Amf0Error::UnknownMarker { marker, at: 0 };
        assert_eq!(decode_one(&[marker, 0, 0, 9]), Err(error));
    }
    assert_eq!(decode_one(b"\x09"), Err(Amf0Error::StrayObjectEnd { at: 0 }));
    for marker in 0x07..=0xff {
        let error = Amf0Error::Amf3Marker { marker, at: 1 };
        assert_eq!(decode_one(&[0x11, marker, 1]), Err(error));
    }
    let error = Amf0Error::Amf3StringReference { index: 3, at: 2 };
    assert_eq!(decode_one(b"\x11\x06\x06abc"), Err(error));
}

#[test]
fn am_2_the_count_of_an_ecma_array_is_a_hint() {
    let entries = b"\0\x01a\x05\0\x01b\x06";
    let array = Value::EcmaArray(vec![(b"a", Value::Null), (b"b", Value::Undefined)]);
    for count in [0_u32, 1, 2, 3, 1_000_000, u32::MAX] {
        let message = [b"\x08", &count.to_be_bytes()[..], entries, b"\0\0\x09", b"\x05"].concat();
        let mut decoder = Decoder::new(&message, Limits::default());
        assert_eq!(decoder.next_value(), Ok(Some(array.clone())), "count {count}");
        assert_eq!(decoder.next_value(), Ok(Some(Value::Null)), "count {count}");
        assert_eq!(decoder.next_value(), Ok(None), "count {count}");
    }
}

#[test]
fn am_2_a_missing_final_end_marker_is_tolerated() {
    let entries = || vec![(b"a".as_slice(), Value::Null)];
    for (message, value) in [
        (b"\x03\0\x01a\x05".as_slice(), Value::Object(entries())),
        (b"\x08\0\0\0\x01\0\x01a\x05", Value::EcmaArray(entries())),
        (b"\x10\0\0\0\x01a\x05", Value::TypedObject { class_name: b"", entries: entries() }),
        // Both of the nested ones.
        (b"\x03\0\x01o\x03\0\x01a\x05", Value::Object(vec![(b"o", Value::Object(entries()))])),
        // The count promises more, and the bytes behind are of another message.
        (&b"\x08\0\0\0\x02\0\x01a\x05\0\x01b\x05"[..9], Value::EcmaArray(entries())),
    ] {
        let mut decoder = Decoder::new(message, Limits::default());
        assert_eq!(decoder.next_value(), Ok(Some(value)), "{message:02x?}");
        assert_eq!(decoder.next_value(), Ok(None), "{message:02x?}");
    }
    // Half an end marker is a key without its value.
    assert_eq!(decode_one(b"\x03\0\0"), Err(Amf0Error::NoValue { at: 3 }));
}

#[test]
fn am_3_lengths_and_counts_past_the_end_are_refused() {
    for (message, len) in [
        (b"\x02\xff\xffabc".as_slice(), 65_535),
        (b"\x02\0\x04abc", 4),
        (b"\x0c\xff\xff\xff\xffabc", 4_294_967_295_u32),
        (b"\x0f\0\0\0\x04abc", 4),
        (b"\x03\0\x04abc", 4),
        (b"\x08\0\0\0\0\xff\xffabc", 65_535),
        (b"\x10\0\x04abc", 4),
        (b"\x11\x06\x09abc", 4),
        (b"\x11\x06\xff\xff\xff\xffabc", 268_435_455),
    ] {
        let at = message.len() - 3;
        match decode_one(message) {
            Err(error @ Amf0Error::PastEnd { .. }) => {
                let text = format!(" of {len} bytes at byte {at}, but 3 follow");
                assert!(error.to_string().ends_with(&text), "{error}");
            }
            other => panic!("{message:02x?}: {other:?}"),
        }
    }
    for count in [4_u32, 1 << 20, u32::MAX] {
        let message = [b"\x0a", &count.to_be_bytes()[..], b"\x05\x05\x05"].concat();
        let error = Amf0Error::CountPastEnd { count: count as usize, at: 5, left: 3 };
        assert_eq!(decode_one(&message), Err(error));
    }
}

#[test]
fn am_3_a_count_reserves_nothing() {
    let ecma = decode_one(b"\x08\xff\xff\xff\xff\0\x01a\x05\0\0\x09");
    let Ok(Value::EcmaArray(entries)) = ecma else { panic!("{ecma:?}") };
    assert!(entries.capacity() <= 4, "{}", entries.capacity());
    // As many bytes as promised follow, but one string takes them all.
    let text = [b"\x02\x03\xe8".as_slice(), &[b'x'; 1000]].concat();
    let message = [b"\x0a\0\0\0\x01", &text[..]].concat();
    let strict = decode_one(&message);
    let Ok(Value::StrictArray(values)) = strict else { panic!("{strict:?}") };
    assert!(values.capacity() <= 4, "{}", values.capacity());
    assert!(size_of::<Entry<'_>>() <= 64, "what a byte of a message may become in memory");
}

#[test]
fn am_3_strings_are_slices_of_the_message() {
    let message = b"\x02\0\x04live\x0c\0\0\0\x04live\x0f\0\0\0\x04live\x11\x06\x09live\
        \x10\0\x04live\0\x04live\x02\0\x04live";
    let inside = |bytes: &[u8]| message.as_ptr_range().contains(&bytes.as_ptr());
    let mut decoder = Decoder::new(message, Limits::default());
    for _ in 0..5 {
        match decoder.next_value().unwrap().unwrap() {
            Value::String(bytes) | Value::XmlDocument(bytes) => assert!(inside(bytes)),
            Value::TypedObject { class_name, entries } => {
                assert!(inside(class_name) && inside(entries[0].0));
                assert!(entries[0].1.as_bytes().is_some_and(inside));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn am_3_a_message_has_a_limit_of_values() {
    let limits = Limits { elements_max: 10, ..Limits::default() };
    let count_until_refused = |message: &[u8]| {
        let mut decoder = Decoder::new(message, limits);
        loop {
            match decoder.next_value() {
                Ok(value) => assert!(value.is_some(), "not refused: {message:02x?}"),
                Err(error) => return error,
            }
        }
    };
    let error = |at| Amf0Error::TooManyElements { at, max: 10 };
    // Side by side, in a strict array, in an object, and in both of two objects.
    assert_eq!(count_until_refused(&[5; 11]), error(10));
    assert_eq!(
        count_until_refused(b"\x0a\0\0\0\x0a\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05"),
        error(14)
    );
    let object = [b"\x03".as_slice(), &b"\0\x01k\x05".repeat(10)].concat();
    assert_eq!(count_until_refused(&object), error(40));
    let object = [b"\x03".as_slice(), &b"\0\x01k\x05".repeat(5), b"\0\0\x09"].concat();
    assert_eq!(count_until_refused(&object.repeat(2)), error(24 + 16));

    let mut decoder = Decoder::new(&[5; 10], limits);
    while decoder.next_value().unwrap().is_some() {}
    assert_eq!(decoder.offset(), 10, "as many as the limit are fine");
}

/// What opens one more level, and what closes it.
const NESTINGS: [(&[u8], &[u8]); 4] = [
    (b"\x03\0\x01k", b"\0\0\x09"),
    (b"\x08\0\0\0\x01\0\x01k", b"\0\0\x09"),
    (b"\x0a\0\0\0\x01", b""),
    (b"\x10\0\x01C\0\x01k", b"\0\0\x09"),
];

fn nested(depth: usize, (open, close): (&[u8], &[u8])) -> Vec<u8> {
    [open.repeat(depth), vec![0x05], close.repeat(depth)].concat()
}

/// A quarter of what tokio gives its threads.
fn on_a_small_stack(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    thread.spawn(test).unwrap().join().unwrap();
}

#[test]
fn am_4_a_hundred_thousand_levels_are_refused() {
    on_a_small_stack(|| {
        let mixed = NESTINGS.map(|nesting| nesting.0).concat();
        for nesting in NESTINGS.into_iter().chain([(mixed.as_slice(), b"".as_slice())]) {
            let message = nested(100_000, nesting);
            for depth_max in [0, 1, 32, u8::MAX] {
                let limits = Limits { depth_max, ..Limits::default() };
                let mut decoder = Decoder::new(&message, limits);
                match decoder.next_value() {
                    Err(Amf0Error::TooDeep { max, .. }) => assert_eq!(max, depth_max),
                    other => panic!("{other:?}"),
                }
                assert_eq!(decoder.offset(), 0);
            }
        }
    });
}

#[test]
fn am_4_the_deepest_value_allowed_fits_a_small_stack() {
    on_a_small_stack(|| {
        for nesting in NESTINGS {
            for depth_max in [32, u8::MAX] {
                let limits = Limits { depth_max, ..Limits::default() };
                let message = nested(depth_max.into(), nesting);
                let value = Decoder::new(&message, limits).next_value().unwrap().unwrap();
                assert_eq!(encoded(&value), message);
                assert!(format!("{value:?}").contains("Null"));
                assert_eq!(value.clone(), value);

                let message = nested(usize::from(depth_max) + 1, nesting);
                let at = usize::from(depth_max) * nesting.0.len();
                let error = Decoder::new(&message, limits).next_value().unwrap_err();
                assert_eq!(error, Amf0Error::TooDeep { at, max: depth_max });
            }
        }
    });
}

#[test]
fn am_5_names_are_kept_byte_for_byte() {
    // The name, then what resembles it: a NUL behind, invalid UTF-8 (which a lossy reading would
    // make equal to one another), and a slash in two bytes instead of one.
    let names: [&[u8]; 7] =
        [b"a/b", b"a/b\0", b"a/b\0c", b"a/b\xff", b"a/b\xfe", b"a\xc0\xafb", b"a\xef\xbf\xbdb"];
    let mut decoded = Vec::new();
    for name in names {
        let text = [&[0x02, 0, name.len() as u8], name].concat();
        let value = decode_one(&text).unwrap();
        assert_eq!(value.as_bytes(), Some(name));
        assert_eq!(value.as_str().map(str::as_bytes), str::from_utf8(name).is_ok().then_some(name));
        assert_eq!(encoded(&value), text);
        decoded.push(name.to_vec());

        let object = [b"\x03\0".as_slice(), &[name.len() as u8], name, b"\x05\0\0\x09"].concat();
        let value = decode_one(&object).unwrap();
        assert_eq!(value.entries().unwrap(), [(name, Value::Null)], "a key is kept as well");
        assert_eq!(encoded(&value), object);
    }
    decoded.sort();
    decoded.dedup();
    assert_eq!(decoded.len(), names.len());
    assert_eq!(decode_one(b"\x02\0\x02a\xff").unwrap().to_str_lossy().unwrap(), "a\u{fffd}");
    assert_eq!(decode_one(b"\x05").unwrap().as_bytes(), None);
}

#[test]
fn am_5_nan_and_infinity_are_numbers_like_others() {
    for bits in [
        0x7ff0_0000_0000_0000_u64, // Infinity.
        0xfff0_0000_0000_0000,     // Minus infinity.
        0x7ff8_0000_0000_0000,     // NaN.
        0x7ff0_0000_0000_0001,     // A signalling NaN.
        0xffff_ffff_ffff_ffff,     // The NaN with every bit set.
    ] {
        let bytes = bits.to_be_bytes();
        let number = [b"\x00".as_slice(), &bytes].concat();
        let value = decode_one(&number).unwrap();
        assert_eq!(value.as_number().map(f64::to_bits), Some(bits));
        assert_eq!(value.as_u32(), None, "{value:?} is no stream id");
        assert_eq!(encoded(&value), number);
        let date = [b"\x0b".as_slice(), &bytes, b"\0\0"].concat();
        assert_eq!(encoded(&decode_one(&date).unwrap()), date);
        let metadata = [b"\x03\0\x05width\0", &bytes[..], b"\0\x01a\x05\0\0\x09"].concat();
        assert_eq!(decode_one(&metadata).unwrap().get("a"), Some(&Value::Null));
    }
}

/// Bytes to take strings from; values borrow theirs.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};
static LONG: [u8; 70_000] = [b'x'; 70_000];

fn any_bytes() -> impl Strategy<Value = &'static [u8]> {
    (0..=256_usize, 0..8_usize).prop_map(|(start, len)| &BYTES[start..(start + len).min(256)])
}

fn any_number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    // Not NaN, which is not equal to itself; am_5 has it.
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        any_number().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        any_bytes().prop_map(Value::String),
        (65_530..LONG.len()).prop_map(|len| Value::String(&LONG[..len])),
        any_bytes().prop_map(Value::XmlDocument),
        any::<u16>().prop_map(Value::Reference),
        (any_number(), any::<i16>())
            .prop_map(|(unix_ms, timezone)| Value::Date { unix_ms, timezone }),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        let entries = || prop::collection::vec((any_bytes(), inner.clone()), 0..6);
        prop_oneof![
            entries().prop_map(Value::Object),
            entries().prop_map(Value::EcmaArray),
            (any_bytes(), entries())
                .prop_map(|(class_name, entries)| Value::TypedObject { class_name, entries }),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::StrictArray),
        ]
    })
}

/// Values inside some levels of objects and arrays, with a few bytes of it made wrong.
fn almost_amf0() -> impl Strategy<Value = Vec<u8>> {
    let open = prop::sample::select(NESTINGS.map(|(open, _)| open).to_vec());
    let opens = prop::collection::vec(open, 0..12);
    let wrong = prop_oneof![4 => 0..=0x12_u8, 1 => any::<u8>()];
    let wrongs = prop::collection::vec((any::<prop::sample::Index>(), wrong), 0..6);
    (opens, any_value(), 0..12_usize, wrongs).prop_map(|(opens, value, ends, wrongs)| {
        let mut message =
            [opens.concat(), encoded(&value).into(), b"\0\0\x09".repeat(ends)].concat();
        // Where the structure is: not in the middle of a long string.
        let len = message.len().min(200);
        wrongs.into_iter().for_each(|(at, wrong)| message[at.index(len)] = wrong);
        message
    })
}

/// Decodes all of `message`; what came out survives being encoded and decoded again.
fn decode_all(message: &[u8]) {
    let limits = Limits { depth_max: 8, elements_max: 64 };
    let mut decoder = Decoder::new(message, limits);
    loop {
        let before = decoder.offset();
        match decoder.next_value() {
            Ok(Some(value)) => {
                assert!(decoder.offset() > before && decoder.offset() <= message.len());
                let again = encoded(&value);
                let debug = format!("{value:?}");
                assert_eq!(format!("{:?}", decode_one(&again).unwrap()), debug);
            }
            Ok(None) => return assert_eq!(before, message.len()),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return assert_eq!(decoder.offset(), before);
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&message);
    }

    #[test]
    fn arbitrary_markers_never_panic(message in almost_amf0()) {
        decode_all(&message);
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(values in prop::collection::vec(any_value(), 1..4)) {
        let mut message = BytesMut::new();
        values.iter().for_each(|value| encode(value, &mut message));
        let mut decoder = Decoder::new(&message, Limits::default());
        for value in values {
            prop_assert_eq!(decoder.next_value(), Ok(Some(value)));
        }
        prop_assert_eq!(decoder.next_value(), Ok(None));
    }
}
