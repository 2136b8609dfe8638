//! AMF0, as much of it as commands and metadata are made of.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Marker 0.
    Number(f64),
    /// Marker 1.
    Boolean(bool),
    /// Markers 2 and 12. What is not UTF-8 is replaced.
    String(String),
    /// Marker 3, in the order of the wire.
    Object(Vec<(String, Value)>),
    /// Marker 5.
    Null,
    /// Marker 6.
    Undefined,
    /// Marker 8, in the order of the wire.
    EcmaArray(Vec<(String, Value)>),
    /// Marker 10.
    StrictArray(Vec<Value>),
}

/// Objects in objects: nobody is known to need more than three.
const DEPTH_MAX: usize = 16;

/// All values, to the end.
///
/// # Errors
///
/// Where the bytes are no AMF0: the offset in them, and why.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let mut reader = Reader { bytes, at: 0 };
    let mut values = Vec::new();
    while reader.at < bytes.len() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], String> {
        let end = self.at.saturating_add(len);
        let taken = self.bytes.get(self.at..end);
        let taken = taken.ok_or_else(|| format!("AMF0 ends at {} of {end}", self.bytes.len()))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn text(&mut self, len: usize) -> Result<String, String> {
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn short_text(&mut self) -> Result<String, String> {
        let len = u16::from_be_bytes(self.array()?);
        self.text(len.into())
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("AMF0 nested deeper than {DEPTH_MAX} at {}", self.at));
        }
        let [marker] = self.array()?;
        Ok(match marker {
            0 => Value::Number(f64::from_be_bytes(self.array()?)),
            1 => Value::Boolean(self.array()? != [0]),
            2 => Value::String(self.short_text()?),
            3 => Value::Object(self.properties(depth)?),
            5 => Value::Null,
            6 => Value::Undefined,
            8 => {
                // The count is a hint.
                self.take(4)?;
                Value::EcmaArray(self.properties(depth)?)
            }
            10 => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(depth + 1)?);
                }
                Value::StrictArray(values)
            }
            12 => {
                let len = u32::from_be_bytes(self.array()?);
                Value::String(self.text(len as usize)?)
            }
            marker => return Err(format!("AMF0 marker {marker} at {}", self.at - 1)),
        })
    }

    fn properties(&mut self, depth: usize) -> Result<Vec<(String, Value)>, String> {
        let mut properties = Vec::new();
        loop {
            let name = self.short_text()?;
            if name.is_empty() && self.bytes.get(self.at) == Some(&9) {
                self.at += 1;
                return Ok(properties);
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }
}

impl Value {
    /// A string.
    pub fn text(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    /// A property of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let (Self::Object(properties) | Self::EcmaArray(properties)) = self else { return None };
        properties.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Appends the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(0);
                out.extend(number.to_be_bytes());
            }
            Self::Boolean(boolean) => out.extend([1, u8::from(*boolean)]),
            Self::String(text) => match u16::try_from(text.len()) {
                Ok(_) => {
                    out.push(2);
                    write_short_text(text, out);
                }
                Err(_) => {
                    out.push(12);
                    out.extend((text.len() as u32).to_be_bytes());
                    out.extend(text.as_bytes());
                }
            },
            Self::Object(properties) => {
                out.push(3);
                write_properties(properties, out);
            }
            Self::Null => out.push(5),
            Self::Undefined => out.push(6),
            Self::EcmaArray(properties) => {
                out.push(8);
                out.extend((properties.len() as u32).to_be_bytes());
                write_properties(properties, out);
            }
            Self::StrictArray(values) => {
                out.push(10);
                out.extend((values.len() as u32).to_be_bytes());
                values.iter().for_each(|value| value.write(out));
            }
        }
    }
}

fn write_short_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn write_properties(properties: &[(String, Value)], out: &mut Vec<u8>) {
    for (name, value) in properties {
        write_short_text(name, out);
        value.write(out);
    }
    out.extend([0, 0, 9]);
}

/// A command's or script data's values as bytes.
pub fn to_bytes(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| value.write(&mut out));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_is_an_error() {
        let properties = vec![
            ("code".to_owned(), Value::text("x")),
            ("deep".to_owned(), Value::Object(vec![("n".to_owned(), Value::Number(-1.5))])),
        ];
        let values = [
            Value::text(&"long".repeat(20_000)),
            Value::Boolean(true),
            Value::Null,
            Value::Undefined,
            Value::StrictArray(vec![Value::text("a"), Value::Number(2.0)]),
            Value::EcmaArray(properties.clone()),
            Value::Object(properties),
        ];
        let bytes = to_bytes(&values);
        assert_eq!(read_all(&bytes), Ok(values.to_vec()));
        let last = to_bytes(&values[6..]);
        for cut in 1..last.len() {
            assert!(read_all(&last[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn markers_nobody_uses_and_depth_are_errors() {
        assert!(read_all(b"\x07\0\x01").is_err());
        assert!(read_all(&b"\x03\0\x01a".repeat(100)).is_err());
        assert!(read_all(b"\x0a\xff\xff\xff\xff\x05").is_err());
    }
}
