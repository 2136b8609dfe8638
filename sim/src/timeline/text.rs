//! Text as it may stand in a page: escaped, clipped, numbers short.

use std::fmt::{self, Display, Formatter, Write as _};

/// What a trace, a plan or a peer said: escaped for elements and for attributes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(char)?,
                // What a page may not contain, and what would turn its text around.
                char if char.is_control() || is_unseen(char) => {
                    write!(f, "{}", char.escape_unicode())?;
                }
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Marks of direction, line ends of other alphabets, and what XML has no place for.
fn is_unseen(char: char) -> bool {
    matches!(
        char,
        '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}'
    )
}

/// The first `len` characters, with an ellipsis if there are more.
pub(super) fn clip(text: &str, len: usize) -> String {
    match text.char_indices().nth(len) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A coordinate: tenths of a pixel are enough, and most need none.
#[derive(Clone, Copy)]
pub(super) struct Px(pub(super) f64);

impl Px {
    pub(super) fn tenths(self) -> i64 {
        (self.0 * 10.0).round() as i64
    }
}

impl Display for Px {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tenths = self.tenths();
        match tenths % 10 {
            0 => write!(f, "{}", tenths / 10),
            _ => write!(f, "{:.1}", tenths as f64 / 10.0),
        }
    }
}

/// A number with thin groups of thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Bytes as people say them.
pub(super) fn bytes(len: u64) -> String {
    match len {
        0..10_000 => format!("{len} B"),
        10_000..10_000_000 => format!("{} KiB", len >> 10),
        _ => format!("{} MiB", len >> 20),
    }
}

/// Milliseconds as people say them.
pub(super) fn delay(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 if !ms.is_multiple_of(1_000) => format!("{:.1} s", ms as f64 / 1e3),
        _ => format!("{} s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_means_something_in_html_survives() {
        let text = Text("<b class=\"a\" id='b'>&\u{0}\u{202e}\r").to_string();
        assert_eq!(text, "&lt;b class=&quot;a&quot; id=&#39;b&#39;&gt;&amp;\\u{0}\\u{202e}\\u{d}");
    }

    #[test]
    fn coordinates_are_short() {
        let all = [0.0, 12.04, 12.05, 0.96, 3.5].map(|x| Px(x).to_string());
        assert_eq!(all, ["0", "12", "12.1", "1", "3.5"]);
    }

    #[test]
    fn clipping_counts_characters_not_bytes() {
        assert_eq!(clip("äöü", 2), "äö…");
        assert_eq!(clip("äöü", 3), "äöü");
    }

    #[test]
    fn numbers_are_grouped_from_the_right() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(123), "123");
    }
}
