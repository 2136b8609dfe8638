//! Feed: what of a stream a connection is sent. Metadata and sequence headers, a keyframe, and then
//! everything.

use crate::flv::{AudioCodec, AudioHeader, Tag, TagKind, VideoCodec, VideoHeader};
use crate::gop::{GopWatch, Placement};
use crate::rtmp::ServerCodecs;

/// Watches a stream for as long as it lasts, over all connections to one target.
pub(super) struct Feed {
    watch: GopWatch,
    /// What is sent can be decoded: headers and a keyframe went before.
    is_running: bool,
    codecs: ServerCodecs,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { watch: GopWatch::new(), is_running: false, codecs: ServerCodecs::default() }
    }

    /// A connection begins, with a server that has nothing of the stream.
    pub(super) fn begin(&mut self, codecs: ServerCodecs) {
        self.is_running = false;
        self.codecs = codecs;
    }

    /// Another publish of the same stream: its headers are yet to come.
    pub(super) fn begin_session(&mut self) {
        self.watch.begin_session();
    }

    /// What the server takes.
    pub(super) fn codecs(&self) -> &ServerCodecs {
        &self.codecs
    }

    /// Watches `tag`, and appends what is to be sent now that it came: nothing while there is
    /// nothing to start with, or no connection to send it on.
    pub(super) fn take(&mut self, tag: &Tag, out: Option<&mut Vec<Tag>>) {
        let placement = self.watch.place(tag);
        let Some(out) = out.filter(|_| placement != Placement::Orphan) else { return };
        if !self.is_running {
            if placement != Placement::Entry {
                return;
            }
            self.is_running = true;
            let headers = self.watch.headers().tags();
            out.extend(headers.map(|header| Tag { timestamp: tag.timestamp, ..header.clone() }));
        }
        out.push(tag.clone());
    }

    /// A codec of this tag that the server does not take.
    pub(super) fn refused_codec(&self, tag: &Tag) -> Option<[u8; 4]> {
        let is_refused = |four_cc: &[u8; 4]| !self.codecs.takes(*four_cc);
        match tag.kind {
            TagKind::Video => {
                let header = VideoHeader::parse(&tag.payload).ok()?;
                let tracks = || header.tracks(&tag.payload).map(|track| track.codec);
                match header.multitrack {
                    None => header.codec.and_then(VideoCodec::four_cc).filter(is_refused),
                    Some(_) => tracks().filter_map(VideoCodec::four_cc).find(is_refused),
                }
            }
            TagKind::Audio => {
                let header = AudioHeader::parse(&tag.payload).ok()?;
                let tracks = || header.tracks(&tag.payload).map(|track| track.codec);
                match header.multitrack {
                    None => header.codec.and_then(AudioCodec::four_cc).filter(is_refused),
                    Some(_) => tracks().filter_map(AudioCodec::four_cc).find(is_refused),
                }
            }
            TagKind::Script => None,
        }
    }
}
