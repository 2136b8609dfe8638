//! Url: where a client publishes or plays, `rtmp://host[:port]/app/name?query`.

use std::fmt;
use std::str::FromStr;

/// The port of an RTMP URL without one (RTMP 5).
const PORT_DEFAULT: u16 = 1935;
/// The port of an RTMPS URL without one.
const PORT_TLS_DEFAULT: u16 = 443;

/// Where a client publishes or plays.
///
/// The app is the first segment of the path, the name is all the rest. Nothing is
/// percent-decoded: a stream key goes to the server as it was written.
///
/// ```
/// use forebay::rtmp::Url;
/// let url: Url = "rtmp://[::1]/live/cam1/high?token=a/b".parse()?;
/// assert_eq!((url.host(), url.port(), url.app()), ("::1", 1935, "live"));
/// assert_eq!((url.name(), url.query()), ("cam1/high", "token=a/b"));
/// # Ok::<(), forebay::rtmp::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
    app: String,
    name: String,
    query: String,
}

/// Why a text is no RTMP URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Neither `rtmp://` nor `rtmps://`.
    #[error("an RTMP URL begins with rtmp:// or rtmps://")]
    Scheme,
    /// Nothing before the port or the path.
    #[error("there is no host between the scheme and the path")]
    NoHost,
    /// Not 1 to 65535.
    #[error("the port is {0:?}, allowed are 1 to 65535")]
    Port(String),
    /// `[` without `]`, or something but a port behind it.
    #[error("an IPv6 address is written as [address] or [address]:port")]
    Brackets,
    /// The path has no first segment.
    #[error("the path has no app: rtmp://host/app/name")]
    NoApp,
    /// The path ends with the app.
    #[error("the path has no stream name behind the app {0:?}: rtmp://host/app/name")]
    NoName(String),
    /// A space or a control character.
    #[error("there is a space or a control character in it")]
    Character,
}

impl Url {
    /// Whether the connection is encrypted (`rtmps`).
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host's name or address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1935 (or 443 with TLS) unless the URL has one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The app.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The stream's name, without the query.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is behind the `?`, or nothing.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// What `publish` and `play` are given: the name and, if there is one, the query.
    pub fn name_and_query(&self) -> String {
        if self.query.is_empty() {
            return self.name.clone();
        }
        format!("{}?{}", self.name, self.query)
    }

    /// The same server and app with another name and query, both as they are.
    pub fn with_name(&self, name: &str, query: &str) -> Self {
        Self { name: name.into(), query: query.into(), ..self.clone() }
    }

    /// What `connect` is given as `tcUrl`: all but the name and the query (RTMP 7.2.1.1).
    pub fn tc_url(&self) -> String {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        let default = if self.tls { PORT_TLS_DEFAULT } else { PORT_DEFAULT };
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default {
            return format!("{scheme}://{host}/{}", self.app);
        }
        format!("{scheme}://{host}:{}/{}", self.port, self.app)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains(|c: char| c.is_control() || c == ' ') {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => false,
            "rtmps" => true,
            _ => return Err(UrlError::Scheme),
        };
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_len);
        let (host, port) = split_authority(authority)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None if tls => PORT_TLS_DEFAULT,
            None => PORT_DEFAULT,
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (app, name) = path.split_once('/').unwrap_or((path, ""));
        if app.is_empty() {
            return Err(UrlError::NoApp);
        }
        if name.is_empty() {
            return Err(UrlError::NoName(app.into()));
        }
        let (host, app, name, query) = (host.into(), app.into(), name.into(), query.into());
        Ok(Self { tls, host, port, app, name, query })
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or(UrlError::Brackets)?;
            let port = match behind {
                "" => None,
                _ => Some(behind.strip_prefix(':').ok_or(UrlError::Brackets)?),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() { Err(UrlError::NoHost) } else { Ok((host, port)) }
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    match port.parse() {
        // `parse` would take a sign.
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(UrlError::Port(port.into())),
    }
}

/// Without the query: it holds keys, and this goes to logs.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tc_url(), self.name)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_again() {
        let url: Url = "RTMPS://example.org:4430/live/a/b?k=v&w=x?y".parse().unwrap();
        assert!(url.is_tls());
        assert_eq!((url.host(), url.port(), url.app()), ("example.org", 4430, "live"));
        assert_eq!(url.name_and_query(), "a/b?k=v&w=x?y");
        assert_eq!(url.tc_url(), "rtmps://example.org:4430/live");
        assert_eq!(url.to_string(), "rtmps://example.org:4430/live/a/b", "no key in a log");
        let url: Url = "rtmp://[fe80::1]:1935/live/x".parse().unwrap();
        assert_eq!(url.tc_url(), "rtmp://[fe80::1]/live");
        assert_eq!(url.name_and_query(), "x");
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_reason() {
        for (text, error) in [
            ("host/live/x", UrlError::Scheme),
            ("http://host/live/x", UrlError::Scheme),
            ("rtmp:///live/x", UrlError::NoHost),
            ("rtmp://:1935/live/x", UrlError::NoHost),
            ("rtmp://host:/live/x", UrlError::Port("".into())),
            ("rtmp://host:0/live/x", UrlError::Port("0".into())),
            ("rtmp://host:+1/live/x", UrlError::Port("+1".into())),
            ("rtmp://host:65536/live/x", UrlError::Port("65536".into())),
            ("rtmp://[::1/live/x", UrlError::Brackets),
            ("rtmp://[::1]1935/live/x", UrlError::Brackets),
            ("rtmp://host", UrlError::NoApp),
            ("rtmp://host?k=v", UrlError::NoApp),
            ("rtmp://host//x", UrlError::NoApp),
            ("rtmp://host/live", UrlError::NoName("live".into())),
            ("rtmp://host/live/?k=v", UrlError::NoName("live".into())),
            ("rtmp://host/live/x y", UrlError::Character),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error), "{text}");
        }
    }
}
