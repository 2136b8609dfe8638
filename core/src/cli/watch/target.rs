//! Target: what is watched, by RTMP or by HTTP-FLV.

use std::fmt;
use std::str::FromStr;

use forebay::rtmp::Url;
use hyper::Uri;

/// The address of a stream.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Rtmp(Url),
    Http(Uri),
}

impl Target {
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Rtmp(url) => url.host(),
            Self::Http(uri) => uri.host().unwrap_or_default().trim_matches(['[', ']']),
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Rtmp(url) => url.port(),
            Self::Http(uri) => uri.port_u16().unwrap_or(80),
        }
    }

    /// The same stream, begun where `start` says; forebay's servers know the word.
    pub(super) fn with_start(&self, start: &str) -> Result<Self, String> {
        let (text, query) = match self {
            // Its Display leaves out the query.
            Self::Rtmp(url) => (url.to_string(), url.query()),
            Self::Http(uri) => {
                let text = uri.to_string();
                let path = text.split_once('?').map_or(text.as_str(), |(path, _)| path);
                (path.to_owned(), uri.query().unwrap_or_default())
            }
        };
        let separator = if query.is_empty() { "" } else { "&" };
        format!("{text}?{query}{separator}start={start}").parse()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
            Some("rtmp") => text.parse().map(Self::Rtmp).map_err(|error| format!("{error}")),
            Some("http") => {
                let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
                if uri.host().is_none_or(str::is_empty) || uri.path().len() < 2 {
                    return Err("expected http://HOST[:PORT]/APP/NAME.flv".to_owned());
                }
                Ok(Self::Http(uri))
            }
            Some(scheme @ ("rtmps" | "https")) => Err(format!("{scheme} is not supported")),
            _ => Err("expected rtmp://HOST/APP/NAME or http://HOST/APP/NAME.flv".to_owned()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtmp(url) => url.fmt(f),
            // Without the query: it may hold keys.
            Self::Http(uri) => {
                write!(f, "http://{}:{}{}", uri.host().unwrap_or_default(), self.port(), uri.path())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_joins_what_the_query_has_already() {
        let start = |text: &str| text.parse::<Target>().unwrap().with_start("live").unwrap();
        let Target::Rtmp(url) = start("rtmp://h/live/x?key=1") else { panic!() };
        assert_eq!(url.name_and_query(), "x?key=1&start=live");
        let Target::Http(uri) = start("http://h:81/live/x.flv") else { panic!() };
        assert_eq!(uri, "http://h:81/live/x.flv?start=live");
        let Target::Http(uri) = start("http://[::1]/live/x.flv?key=1") else { panic!() };
        assert_eq!(uri, "http://[::1]/live/x.flv?key=1&start=live");
        assert_eq!(Target::Http(uri).host(), "::1");
    }

    #[test]
    fn what_cannot_be_watched_is_refused() {
        for text in
            ["x", "https://h/x.flv", "http://h", "http:///x", "rtmp://h/live", "rtmps://h/a/b"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
