//! A request on a connection of its own, and its whole answer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{Dial, HTTP_PORT};

/// An answer. A status of 0: it did not come, or not whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Bytes of an answer, at most: no segment of a capture has as many.
const LEN_MAX: u64 = 64 << 20;

pub(super) async fn request<N: Dial>(net: N, node: String, path: &str) -> Answer {
    let Ok((_, socket)) = net.socket() else { return Answer::default() };
    let Ok(mut stream) = net.connect(socket, node, HTTP_PORT).await else {
        return Answer::default();
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return Answer::default();
    }
    let mut received = Vec::new();
    match stream.take(LEN_MAX).read_to_end(&mut received).await {
        Ok(_) => read(&received).unwrap_or_default(),
        Err(_) => Answer::default(),
    }
}

/// `None`: it is not whole.
fn read(received: &[u8]) -> Option<Answer> {
    let head_len = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let (head, body) = received.split_at(head_len);
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(it, _)| *it == name).map(|(_, value)| value.to_owned())
    };
    let body = match (field("content-length"), field("transfer-encoding").as_deref()) {
        (_, Some("chunked")) => unchunked(body)?,
        (Some(len), _) if len.parse() != Ok(body.len()) => return None,
        _ => body.to_vec(),
    };
    Some(Answer { status, body })
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line_len = body.windows(2).position(|bytes| bytes == b"\r\n")?;
        let size = std::str::from_utf8(&body[..line_len]).ok()?;
        let len = usize::from_str_radix(size, 16).ok()?;
        if len == 0 {
            return Some(whole);
        }
        body = &body[line_len + 2..];
        whole.extend_from_slice(body.get(..len)?);
        body = body.get(len + 2..)?;
    }
}
