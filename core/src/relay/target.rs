//! Target: where a relay publishes. A URL with places for the stream's name and for a secret key.

use std::fmt;

use crate::rtmp::{Url, UrlError};

/// What a reason may have of a server's own words, in characters.
const REASON_LEN_MAX: usize = 300;

/// A stream key of a service: whoever has it may publish. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key without the white space around it, as a line of a file has it. `None` if nothing is
    /// left, or if there is white space or a control character in it.
    pub fn new(text: &str) -> Option<Self> {
        let key = text.trim();
        let is_key = !key.is_empty() && !key.contains(|c: char| c.is_control() || c == ' ');
        is_key.then(|| Self(key.to_owned()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Where streams are published, one by one.
///
/// `{name}` in the URL's name or query stands for the stream's name, `{key}` for the key. A URL that
/// ends with the app has its stream key added: the key if there is one, or else the stream's name.
///
/// ```
/// use forebay::relay::{Key, Target};
/// let target = Target::new("rtmp://a.example.org/live2", Key::new("abcd-1234"))?;
/// assert_eq!(target.url("cam").name(), "abcd-1234");
/// assert_eq!(target.label("cam"), "rtmp://a.example.org/live2/{key}");
/// let target = Target::new("rtmp://b.example.org/app/{name}?token={key}", Key::new("abcd"))?;
/// assert_eq!(target.url("cam").name_and_query(), "cam?token=abcd");
/// assert_eq!(target.label("cam"), "rtmp://b.example.org/app/cam");
/// # Ok::<(), forebay::relay::TargetError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    template: Url,
    key: Option<Key>,
}

/// Why a URL is no target.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// No RTMP URL at all.
    #[error("{0}")]
    Url(UrlError),
    /// Something before an `@`: it would be shown.
    #[error("there is a user or a password in it: what is secret belongs into a key file")]
    Credentials,
    /// A place for something that is not known.
    #[error("`{{{0}}}` means nothing: there are `{{name}}`, the stream's, and `{{key}}`")]
    Placeholder(String),
    /// A place where none can be.
    #[error("a place for the name or the key is behind the app: rtmp://host/app/{{name}}")]
    InApp,
    /// `{key}` without one.
    #[error("there is `{{key}}` in it, and neither a key_file nor a key_env")]
    NoKey,
    /// A key without a place.
    #[error("there is a key, and no `{{key}}` in it")]
    KeyUnused,
}

impl Target {
    /// By a URL with places, and the key for one of them.
    pub fn new(url: &str, key: Option<Key>) -> Result<Self, TargetError> {
        let authority = url.split_once("://").map_or("", |(_, rest)| rest);
        if authority.split(['/', '?']).next().is_some_and(|authority| authority.contains('@')) {
            return Err(TargetError::Credentials);
        }
        let template = match url.parse::<Url>() {
            Err(UrlError::NoName(_)) => {
                let (path, query) =
                    url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
                let place = if key.is_some() { "{key}" } else { "{name}" };
                let query = query.map_or_else(String::new, |query| format!("?{query}"));
                format!("{}/{place}{query}", path.trim_end_matches('/')).parse()
            }
            parsed => parsed,
        };
        let template: Url = template.map_err(TargetError::Url)?;
        if template.app().contains('{') {
            return Err(TargetError::InApp);
        }
        let mut has_key = false;
        for place in places(template.name()).chain(places(template.query())) {
            match place {
                "name" => {}
                "key" => has_key = true,
                other => return Err(TargetError::Placeholder(other.to_owned())),
            }
        }
        match (has_key, &key) {
            (true, None) => Err(TargetError::NoKey),
            (false, Some(_)) => Err(TargetError::KeyUnused),
            _ => Ok(Self { template, key }),
        }
    }

    /// Where the stream of this name is published. It has the key in it: not to be shown.
    pub fn url(&self, name: &str) -> Url {
        let key = self.key.as_ref().map_or("", |key| &key.0);
        self.template.with_name(
            &fill(self.template.name(), name, key),
            &fill(self.template.query(), name, key),
        )
    }

    /// The same for people: without the key, and without the query.
    pub fn label(&self, name: &str) -> String {
        self.template.with_name(&fill(self.template.name(), name, "{key}"), "").to_string()
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.template.is_tls()
    }

    /// What somebody said, to be shown: without the key, should it be in it, on one line, and not
    /// for pages.
    pub fn redacted(&self, text: &str) -> String {
        let text = match &self.key {
            Some(key) => text.replace(&key.0, "{key}"),
            None => text.to_owned(),
        };
        let characters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        characters.take(REASON_LEN_MAX).collect()
    }
}

/// What stands between braces; nothing for one that is not closed.
fn places(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).map(|rest| rest.split_once('}').map_or("", |(place, _)| place))
}

/// In one pass: a name with braces in it stays what it is.
fn fill(template: &str, name: &str, key: &str) -> String {
    let mut parts = template.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (place, rest) = part.split_once('}').unwrap_or((part, ""));
        filled += if place == "key" { key } else { name };
        filled += rest;
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Option<Key> {
        Key::new(" s3cret\n")
    }

    #[test]
    fn a_key_or_a_name_goes_where_the_url_has_room_for_it() {
        for (url, key, name_and_query) in [
            ("rtmp://host/app", None, "cam/1"),
            ("rtmp://host/app/", None, "cam/1"),
            ("rtmp://host/app?v=1", None, "cam/1?v=1"),
            ("rtmp://host/app", key(), "s3cret"),
            ("rtmp://host/app/fixed", None, "fixed"),
            ("rtmp://host/app/x-{name}", None, "x-cam/1"),
            ("rtmps://host/app/{name}?k={key}&n={name}", key(), "cam/1?k=s3cret&n=cam/1"),
        ] {
            let target = Target::new(url, key).unwrap();
            assert_eq!(target.url("cam/1").name_and_query(), name_and_query, "{url}");
            assert_eq!(target.url("cam/1").app(), "app", "{url}");
        }
    }

    #[test]
    fn a_stream_cannot_ask_for_the_key_by_its_name() {
        let target = Target::new("rtmp://host/app/{name}?k={key}", key()).unwrap();
        assert_eq!(target.url("{key}").name(), "{key}");
        assert_eq!(target.url("a?b").name(), "a?b", "a name is a name");
    }

    #[test]
    fn the_key_is_in_nothing_that_is_shown() {
        for url in ["rtmp://host/app", "rtmp://host/app/{name}?k={key}", "rtmp://host/a/{key}"] {
            let target = Target::new(url, key()).unwrap();
            let shown = format!("{} {target:?} {:?}", target.label("cam"), key());
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let target = Target::new("rtmp://host/app", key()).unwrap();
        let said = target.redacted("bad key\n's3cret'");
        assert_eq!(said, "bad key '{key}'");
        assert_eq!(target.redacted(&"x".repeat(1000)).len(), REASON_LEN_MAX);
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_reason() {
        for (url, key, error) in [
            ("host/app", None, TargetError::Url(UrlError::Scheme)),
            ("http://host/app", None, TargetError::Url(UrlError::Scheme)),
            ("rtmp://host", None, TargetError::Url(UrlError::NoApp)),
            ("rtmp://me:pass@host/app", None, TargetError::Credentials),
            ("rtmp://host/{name}/x", None, TargetError::InApp),
            ("rtmp://host/app/{nmae}", None, TargetError::Placeholder("nmae".into())),
            ("rtmp://host/app/{name", None, TargetError::Placeholder(String::new())),
            ("rtmp://host/app/{key}", None, TargetError::NoKey),
            ("rtmp://host/app/{name}", key(), TargetError::KeyUnused),
        ] {
            assert_eq!(Target::new(url, key), Err(error), "{url}");
        }
        assert_eq!((Key::new(" \n"), Key::new("a b"), Key::new("a\nb")), (None, None, None));
    }
}
