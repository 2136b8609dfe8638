//! Bytes to values.

use super::{Entry, Value, marker};

/// How much one message may make of its bytes. Exceeding either refuses the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects and arrays inside one another. A byte, so that no setting can exhaust a stack.
    pub depth_max: u8,
    /// Values in one message, those inside objects and arrays included.
    pub elements_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Commands and metadata nest three deep: an object, a map by track, its properties.
            depth_max: 32,
            // `connect` and `onMetaData` have some dozens. An object with one entry is 3 bytes on
            // the wire and 256 in memory, which makes the dearest message about 256 KiB.
            elements_max: 1024,
        }
    }
}

/// What a message violated. Positions are bytes from the start of the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Amf0Error {
    /// Something is longer than the message.
    #[error("{what} of {len} bytes at byte {at}, but {left} follow")]
    PastEnd {
        /// The field that does not fit.
        what: &'static str,
        /// Its length.
        len: usize,
        /// Where its first byte is, or would be.
        at: usize,
        /// Bytes from there to the end.
        left: usize,
    },
    /// The message ends where a value must be.
    #[error("no value at byte {at}, where the message ends")]
    NoValue {
        /// The length of the message.
        at: usize,
    },
    /// A strict array promises more values than there are bytes.
    #[error("strict array of {count} values at byte {at}, but {left} bytes follow")]
    CountPastEnd {
        /// Values promised.
        count: usize,
        /// Where the first value is, or would be.
        at: usize,
        /// Bytes from there to the end.
        left: usize,
    },
    /// An end marker where no object or ECMA array is open (2.11).
    #[error("object end at byte {at}, where nothing is open")]
    StrayObjectEnd {
        /// Where the marker is.
        at: usize,
    },
    /// Not a marker of AMF0, or one it reserves: movieclip (2.6), recordset (2.16).
    #[error("reserved or unknown marker 0x{marker:02x} at byte {at}")]
    UnknownMarker {
        /// The byte found.
        marker: u8,
        /// Where it is.
        at: usize,
    },
    /// An AMF3 value other than undefined, null, boolean, integer, double and string. Its length
    /// cannot be known without decoding it, so what follows cannot be read either.
    #[error("AMF3 marker 0x{marker:02x} at byte {at} is not supported")]
    Amf3Marker {
        /// The byte found.
        marker: u8,
        /// Where it is.
        at: usize,
    },
    /// An AMF3 string that refers to an earlier one; a single value has none (AMF 3 2.2).
    #[error("AMF3 string at byte {at} refers to string {index}, but there is none before it")]
    Amf3StringReference {
        /// Which earlier string.
        index: u32,
        /// Where the reference is.
        at: usize,
    },
    /// Over [`Limits::depth_max`].
    #[error("object or array at byte {at} is over the limit of {max} levels")]
    TooDeep {
        /// Where its marker is.
        at: usize,
        /// The limit.
        max: u8,
    },
    /// Over [`Limits::elements_max`].
    #[error("value at byte {at} is over the limit of {max} in a message")]
    TooManyElements {
        /// Where its marker is.
        at: usize,
        /// The limit.
        max: usize,
    },
}

/// Reads the values of one message, one after the other.
///
/// Strings borrow from the message; only objects and arrays allocate, and only for what is in
/// them. A count in the message reserves nothing.
///
/// ```
/// use forebay::amf0::{Decoder, Limits, Value};
/// let mut decoder = Decoder::new(b"\x02\x00\x07connect\x05", Limits::default());
/// assert_eq!(decoder.next_value()?, Some(Value::String(b"connect")));
/// assert_eq!(decoder.next_value()?, Some(Value::Null));
/// assert_eq!(decoder.next_value()?, None);
/// # Ok::<(), forebay::amf0::Amf0Error>(())
/// ```
#[derive(Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    len: usize,
    elements: usize,
    limits: Limits,
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `message`.
    pub fn new(message: &'a [u8], limits: Limits) -> Self {
        Self { rest: message, len: message.len(), elements: 0, limits }
    }

    /// Bytes read so far: where the next value starts.
    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The next value, or `None` at the end of the message. After an error nothing was consumed,
    /// and there is no next value.
    pub fn next_value(&mut self) -> Result<Option<Value<'a>>, Amf0Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (rest, elements) = (self.rest, self.elements);
        let value = self.value(0);
        if value.is_err() {
            (self.rest, self.elements) = (rest, elements);
        }
        value.map(Some)
    }

    /// A value inside `depth` objects and arrays.
    fn value(&mut self, depth: u8) -> Result<Value<'a>, Amf0Error> {
        let at = self.offset();
        let marker = self.marker()?;
        if self.elements >= self.limits.elements_max {
            return Err(Amf0Error::TooManyElements { at, max: self.limits.elements_max });
        }
        self.elements += 1;
        Ok(match marker {
            marker::NUMBER => Value::Number(self.number("number")?),
            // 2.3: anything but zero is true.
            marker::BOOLEAN => Value::Boolean(self.array::<1>("boolean")? != [0]),
            marker::STRING => Value::String(self.short_string("string")?),
            marker::LONG_STRING => Value::String(self.long_string("long string")?),
            marker::XML_DOCUMENT => Value::XmlDocument(self.long_string("XML document")?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::UNSUPPORTED => Value::Unsupported,
            marker::REFERENCE => Value::Reference(u16::from_be_bytes(self.array("reference")?)),
            marker::DATE => Value::Date {
                unix_ms: self.number("date")?,
                timezone: i16::from_be_bytes(self.array("timezone")?),
            },
            marker::OBJECT => Value::Object(self.entries(self.deeper(depth, at)?)?),
            marker::ECMA_ARRAY => {
                let inside = self.deeper(depth, at)?;
                // The count: encoders write zero, too few and too many, then end like an object.
                self.array::<4>("ECMA array count")?;
                Value::EcmaArray(self.entries(inside)?)
            }
            marker::TYPED_OBJECT => {
                let inside = self.deeper(depth, at)?;
                let class_name = self.short_string("class name")?;
                Value::TypedObject { class_name, entries: self.entries(inside)? }
            }
            marker::STRICT_ARRAY => Value::StrictArray(self.values(self.deeper(depth, at)?)?),
            marker::AMF3 => self.amf3_value()?,
            marker::OBJECT_END => return Err(Amf0Error::StrayObjectEnd { at }),
            marker => return Err(Amf0Error::UnknownMarker { marker, at }),
        })
    }

    fn deeper(&self, depth: u8, at: usize) -> Result<u8, Amf0Error> {
        let max = self.limits.depth_max;
        if depth < max { Ok(depth + 1) } else { Err(Amf0Error::TooDeep { at, max }) }
    }

    /// Keys and values up to the end marker (2.11), or to the end of the message: encoders that
    /// forget the last end markers have said everything by then.
    fn entries(&mut self, depth: u8) -> Result<Vec<Entry<'a>>, Amf0Error> {
        let mut entries = Vec::new();
        while !self.rest.is_empty() {
            let key = self.short_string("key")?;
            if key.is_empty()
                && let [marker::OBJECT_END, rest @ ..] = self.rest
            {
                self.rest = rest;
                break;
            }
            entries.push((key, self.value(depth)?));
        }
        Ok(entries)
    }

    /// The inside of a strict array (2.12). It has no end marker, so here the count does count.
    fn values(&mut self, depth: u8) -> Result<Vec<Value<'a>>, Amf0Error> {
        let count = u32::from_be_bytes(self.array("strict array count")?) as usize;
        if count > self.rest.len() {
            let (at, left) = (self.offset(), self.rest.len());
            return Err(Amf0Error::CountPastEnd { count, at, left });
        }
        // Not reserved in one go: arrays inside arrays could each promise the same bytes.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth)?);
        }
        Ok(values)
    }

    /// One AMF3 value (3.1). What follows is AMF0 again.
    fn amf3_value(&mut self) -> Result<Value<'a>, Amf0Error> {
        let at = self.offset();
        Ok(match self.marker()? {
            0x00 => Value::Undefined,
            0x01 => Value::Null,
            0x02 => Value::Boolean(false),
            0x03 => Value::Boolean(true),
            // The 29 bits are two's complement (AMF 3 3.6): shift the sign to where i32 has it.
            0x04 => Value::Number(f64::from(((self.u29()? << 3) as i32) >> 3)),
            0x05 => Value::Number(self.number("AMF3 double")?),
            0x06 => Value::String(self.amf3_string()?),
            marker => return Err(Amf0Error::Amf3Marker { marker, at }),
        })
    }

    /// AMF 3 3.8: the lowest bit of the length says whether bytes follow, or it was a reference.
    fn amf3_string(&mut self) -> Result<&'a [u8], Amf0Error> {
        let at = self.offset();
        let header = self.u29()?;
        if header & 1 == 0 {
            return Err(Amf0Error::Amf3StringReference { index: header >> 1, at });
        }
        self.take("AMF3 string", (header >> 1) as usize)
    }

    /// AMF 3 1.3.1: seven bits a byte while the high bit is set; the fourth byte has all eight.
    fn u29(&mut self) -> Result<u32, Amf0Error> {
        let mut value = 0;
        for _ in 0..3 {
            let [byte] = self.array("AMF3 integer byte")?;
            value = value << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let [byte] = self.array("AMF3 integer byte")?;
        Ok(value << 8 | u32::from(byte))
    }

    fn marker(&mut self) -> Result<u8, Amf0Error> {
        let [marker, rest @ ..] = self.rest else {
            return Err(Amf0Error::NoValue { at: self.offset() });
        };
        self.rest = rest;
        Ok(*marker)
    }

    fn number(&mut self, what: &'static str) -> Result<f64, Amf0Error> {
        self.array(what).map(f64::from_be_bytes)
    }

    fn short_string(&mut self, what: &'static str) -> Result<&'a [u8], Amf0Error> {
        let len = u16::from_be_bytes(self.array("string length")?);
        self.take(what, len.into())
    }

    fn long_string(&mut self, what: &'static str) -> Result<&'a [u8], Amf0Error> {
        let len = u32::from_be_bytes(self.array("string length")?);
        self.take(what, len as usize)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Amf0Error> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.past_end(what, N))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], Amf0Error> {
        let (bytes, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| self.past_end(what, len))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn past_end(&self, what: &'static str, len: usize) -> Amf0Error {
        Amf0Error::PastEnd { what, len, at: self.offset(), left: self.rest.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_the_bytes_are() {
        for (message, text) in [
            (
                b"\x03\0\x07tcUrl!!\x02\xff\xffabc".as_slice(),
                "string of 65535 bytes at byte 13, but 3 follow",
            ),
            (b"\x03\0\x03app", "no value at byte 6, where the message ends"),
            (b"\x0a\0\0\0\x09\x05\x05", "strict array of 9 values at byte 5, but 2 bytes follow"),
            (b"\x03\0\x01a\x04", "reserved or unknown marker 0x04 at byte 4"),
            (b"\x11\x0a\x0b\x01", "AMF3 marker 0x0a at byte 1 is not supported"),
            (
                b"\x11\x06\x08",
                "AMF3 string at byte 2 refers to string 4, but there is none before it",
            ),
            (b"\x09", "object end at byte 0, where nothing is open"),
        ] {
            let error = Decoder::new(message, Limits::default()).next_value().unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn after_an_error_the_decoder_is_where_it_was() {
        let mut decoder = Decoder::new(b"\x05\x03\0\x01a\x05\0\x01b\x00\x40", Limits::default());
        assert_eq!(decoder.next_value(), Ok(Some(Value::Null)));
        let error = decoder.next_value().unwrap_err();
        assert_eq!(error, Amf0Error::PastEnd { what: "number", len: 8, at: 10, left: 1 });
        assert_eq!(decoder.offset(), 1, "nothing was consumed");
        assert_eq!(decoder.next_value(), Err(error), "and so it fails again");
    }
}
