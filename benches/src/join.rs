//! How long from connecting to the first picture.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use forebay::flv::file::FileReader;
use forebay::flv::{Tag, TagRole};
use forebay::rtmp::client::Role;

use crate::peer::Peer;

/// By which protocol a joiner plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// RTMP.
    Rtmp,
    /// HTTP-FLV.
    Http,
}

/// Plays `live/NAME` until the first keyframe is there, all of it. How long that took, from before
/// the connection was made.
pub fn join(by: By, port: u16, name: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    match by {
        By::Rtmp => until_keyframe_rtmp(port, name)?,
        By::Http => until_keyframe_http(port, name)?,
    }
    Ok(begun.elapsed())
}

fn is_keyframe(tag: &Tag) -> bool {
    tag.role() == TagRole::Keyframe
}

fn until_keyframe_rtmp(port: u16, name: &str) -> anyhow::Result<()> {
    let mut seen = false;
    let mut see = |tag: Tag| seen |= is_keyframe(&tag);
    let mut peer = Peer::open_seeing(port, Role::Play, name, &mut see)?;
    while !seen {
        peer.receive(&mut |tag| seen |= is_keyframe(&tag))?;
    }
    Ok(())
}

fn until_keyframe_http(port: u16, name: &str) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    // Of HTTP 1.0, so that the body comes without chunks.
    let request = format!("GET /live/{name}.flv HTTP/1.0\r\nHost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let (mut buffer, mut head) = (vec![0; 256 << 10], Vec::new());
    let mut reader: Option<FileReader> = None;
    loop {
        let len = socket.read(&mut buffer)?;
        ensure!(len > 0, "the server closed the connection");
        let mut bytes = Bytes::copy_from_slice(&buffer[..len]);
        if reader.is_none() {
            head.extend_from_slice(&bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            ensure!(head.windows(5).any(|window| window == b" 200 "), "no stream");
            bytes = Bytes::copy_from_slice(&head[end + 4..]);
        }
        let reader = reader.get_or_insert_with(FileReader::strict);
        reader.push(bytes);
        while let Some(found) = reader.next_tag().context("not FLV")? {
            if is_keyframe(&found.tag) {
                return Ok(());
            }
        }
    }
}
