#!/usr/bin/env python3
"""captool.py - look into, check, damage and describe the captures.

    captool.py show FILE             facts of an .flv or .rtmpcap, readable
    captool.py messages FILE.rtmpcap one line per RTMP message, both directions
    captool.py extract FILE.rtmpcap OUT.flv    the published media as an .flv
    captool.py mangle IN.flv OUT.flv STEP...   make a damaged or unusual file
    captool.py facts FILE ...        write FILE's .facts.json (record-obs.sh calls it)
    captool.py manifest DIR          facts.json files -> DIR/manifest.json + README.md table
    captool.py table DIR             renew README.md's table from manifest.json
    captool.py verify DIR            compare manifest.json with the files
    captool.py lag OBS.log STATS     OBS's lagged + skipped frames in percent

DIR holds flv/, rtmp/, manifest.json and README.md, as testdata does.

Own code, standard library only; written apart from the project's Rust parser on
purpose, so that the two can disagree.  `manifest` and `verify` also have FFmpeg count
the packets: ffprobe (FFPROBE=path), and for Enhanced RTMP a newer ffmpeg (FFNEW=path).
"""
import argparse
import collections
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

FFPROBE = os.environ.get("FFPROBE", "ffprobe")
FFNEW = os.environ.get("FFNEW", "")
MAGIC = b"RTMPCAP1"

# ------------------------------------------------------------------ FLV level


def flv_tags(data, prevsize=True):
    """Yield (offset, type, timestamp, stream_id, body, stored PreviousTagSize)
    strictly in file order; raises ValueError where the framing breaks.
    With prevsize=False a wrong PreviousTagSize is no break."""
    if data[:3] != b"FLV":
        raise ValueError("no FLV signature")
    pos = int.from_bytes(data[5:9], "big")
    if data[pos:pos + 4] != b"\0\0\0\0":
        raise ValueError("first PreviousTagSize is not 0")
    pos += 4
    while pos < len(data):
        if pos + 11 > len(data):
            raise ValueError(f"cut inside a tag header at {pos}")
        typ = data[pos]
        size = int.from_bytes(data[pos + 1:pos + 4], "big")
        ts = int.from_bytes(data[pos + 4:pos + 7], "big") | data[pos + 7] << 24
        sid = int.from_bytes(data[pos + 8:pos + 11], "big")
        if typ & 0x1F not in (8, 9, 18):
            raise ValueError(f"unknown tag type {typ} at {pos}")
        end = pos + 11 + size
        if end > len(data):
            raise ValueError(f"cut inside a tag body: tag at {pos} wants {size} bytes")
        prev = int.from_bytes(data[end:end + 4], "big") if end + 4 <= len(data) else None
        yield pos, typ, ts, sid, data[pos + 11:end], prev
        if prev is None:
            raise ValueError(f"cut inside a PreviousTagSize at {end}")
        if prevsize and prev != size + 11:
            raise ValueError(f"PreviousTagSize at {end} is {prev}, the tag has {size + 11}")
        pos = end + 4


def classify(typ, body):
    """Name of a tag's kind; handles legacy and Enhanced RTMP (v1/v2) bodies."""
    if typ == 18 or typ == 15:
        return "script"
    if not body:
        return "empty"
    if typ == 8:
        fmt = body[0] >> 4
        if fmt == 9:                                    # Enhanced audio (v2)
            if body[0] & 15 == 5:                       # multitrack: the kind is in byte 1
                return {0: "audio_seq", 1: "audio"}.get(body[1] & 15, "audio_other")
            if body[0] & 15 == 1 and len(body) == 5:    # FFmpeg's last FLAC frame: no sound in it
                return "empty"
            return {0: "audio_seq", 1: "audio", 2: "audio_end"}.get(body[0] & 15, "audio_other")
        if fmt == 10 and len(body) > 1 and body[1] == 0:
            return "audio_seq"
        return "audio"
    if typ == 9:
        if body[0] & 0x80:                              # Enhanced video
            kind, frame = body[0] & 15, body[0] >> 4 & 7
            if kind == 6:                               # multitrack: the kind is in byte 1
                kind = body[1] & 15
            if kind == 0:
                return "video_seq"
            if kind == 2:
                return "video_end"
            if kind in (1, 3):
                return "video_key" if frame == 1 else "video_inter"
            return "video_other"
        if body[0] & 15 == 7 and len(body) > 1:
            if body[1] == 0:
                return "video_seq"
            if body[1] == 2:
                return "video_end"
        return "video_key" if body[0] >> 4 == 1 else "video_inter"
    return "other"


def codec_of(typ, body):
    if typ == 9 and body:
        if body[0] & 0x80:
            if body[0] & 15 == 6:
                return "multitrack " + body[2:6].decode("latin-1")
            return body[1:5].decode("latin-1")
        return {7: "avc", 12: "hevc(legacy 12)", 2: "h263"}.get(body[0] & 15, str(body[0] & 15))
    if typ == 8 and body:
        if body[0] >> 4 == 9:
            if body[0] & 15 == 5:
                return "multitrack " + body[2:6].decode("latin-1")
            return body[1:5].decode("latin-1")
        return {10: "aac", 2: "mp3"}.get(body[0] >> 4, str(body[0] >> 4))
    return None


def cts_of(body):
    """Composition time offset of a coded-frames video tag, or None."""
    if body[0] & 0x80:
        if body[0] & 15 == 1 and body[1:5] in (b"hvc1", b"avc1", b"vvc1"):
            return int.from_bytes(body[5:8], "big", signed=True)
        return 0 if body[0] & 15 == 3 else None
    if body[0] & 15 == 7 and body[1] == 1:
        return int.from_bytes(body[2:5], "big", signed=True)
    return None


def nal_types(body):
    """H.264 NAL unit types in a legacy AVC tag (4-byte lengths)."""
    out, p = [], 5
    while p + 4 < len(body):
        n = int.from_bytes(body[p:p + 4], "big")
        out.append(body[p + 4] & 31)
        p += 4 + n
    return out


class Counter:
    """What the manifest says about a sequence of tags."""

    def __init__(self):
        self.n = collections.Counter()
        self.first = self.last = None
        self.order, self.codecs, self.cts, self.nals = [], [], [], collections.Counter()
        self.meta = None
        self.back = 0          # tags whose timestamp is below the previous one
        self.ext = 0           # tags whose timestamp needs more than 24 bits
        self.prev = None
        self.gap = 0           # largest step between a track's neighbouring tags
        self.per = {}
        self.keys = []
        self.media = None      # first and last timestamp of coded audio and video

    def add(self, typ, ts, body):
        kind = classify(typ & 31, body)
        self.n[kind] += 1
        if len(self.order) < 8:
            self.order.append(f"{kind}@{ts}")
        if kind == "script":
            try:
                v = amf0_all(body)
                if self.meta is None:
                    self.meta = v
            except Exception as e:   # a damaged file may have a damaged script tag
                self.meta = self.meta or ["unreadable: " + str(e)]
        c = codec_of(typ & 31, body)
        if c and c not in self.codecs:
            self.codecs.append(c)
        if kind in ("video_key", "video_inter"):
            t = cts_of(body)
            if t is not None:
                self.cts.append(t)
            if not body[0] & 0x80 and body[0] & 15 == 7:
                self.nals.update(nal_types(body))
        if kind == "video_key":
            self.keys.append(ts)
        if kind in ("video_key", "video_inter", "audio"):
            self.media = (self.media or (ts, ts))[0], ts
        if self.first is None:
            self.first = ts
        self.last = ts
        if self.prev is not None and ts < self.prev:
            self.back += 1
        self.prev = ts
        self.ext += ts > 0xFFFFFF
        if typ & 31 in self.per and kind != "script":
            self.gap = max(self.gap, ts - self.per[typ & 31])
        self.per[typ & 31] = ts

    def dict(self):
        d = {"tags": {k: self.n.get(k, 0) for k in
                      ("video_key", "video_inter", "audio", "script", "video_seq", "audio_seq", "video_end")}}
        extra = {k: v for k, v in self.n.items() if k not in d["tags"]}
        if extra:
            d["tags"].update(extra)
        d["codecs"] = self.codecs
        d["first_timestamp_ms"], d["last_timestamp_ms"] = self.first, self.last
        if self.media:
            d["first_media_ms"], d["last_media_ms"] = self.media
        if self.keys:
            d["first_keyframe_ms"] = self.keys[0]
            d["keyframe_steps_ms"] = sorted({b - a for a, b in zip(self.keys, self.keys[1:])})
        if self.cts:
            d["composition_time_ms"] = {"min": min(self.cts), "max": max(self.cts),
                                        "values": sorted(set(self.cts))[:12]}
        if self.nals:
            d["h264_nal_types"] = {str(k): v for k, v in sorted(self.nals.items())}
        d["backward_steps"], d["tags_with_extended_timestamp"] = self.back, self.ext
        d["largest_step_ms"] = self.gap
        d["first_tags"] = self.order
        if self.meta:
            d["metadata"] = self.meta
        return d


# ----------------------------------------------------------------- AMF0, RTMP


def amf0(b, p):
    t = b[p]
    p += 1
    if t == 0:
        v = struct.unpack_from(">d", b, p)[0]
        return (int(v) if v == v and abs(v) < 2**53 and v == int(v) else v), p + 8
    if t == 1:
        return bool(b[p]), p + 1
    if t in (2, 12):
        k = 2 if t == 2 else 4
        n = int.from_bytes(b[p:p + k], "big")
        return b[p + k:p + k + n].decode("utf-8", "replace"), p + k + n
    if t in (3, 8):
        if t == 8:
            p += 4
        out = {}
        while True:
            n = int.from_bytes(b[p:p + 2], "big")
            key = b[p + 2:p + 2 + n].decode("utf-8", "replace")
            p += 2 + n
            if n == 0 and b[p] == 9:
                return out, p + 1
            out[key], p = amf0(b, p)
    if t in (5, 6):
        return None, p
    if t == 10:
        n = int.from_bytes(b[p:p + 4], "big")
        p += 4
        out = []
        for _ in range(n):
            v, p = amf0(b, p)
            out.append(v)
        return out, p
    if t == 11:
        return struct.unpack_from(">d", b, p)[0], p + 10
    raise ValueError(f"AMF0 type {t}")


def amf0_all(b):
    out, p = [], 0
    while p < len(b):
        v, p = amf0(b, p)
        out.append(v)
    return out


def cap_records(data):
    if data[:8] != MAGIC:
        raise ValueError("no RTMPCAP1 magic")
    p = 8
    while p + 13 <= len(data):
        us, d, n = struct.unpack_from("<QBI", data, p)
        if p + 13 + n > len(data):
            raise ValueError("cut inside a record")
        yield us, d, data[p + 13:p + 13 + n]
        p += 13 + n
    if p != len(data):
        raise ValueError("trailing bytes")


class Chunks:
    """One direction of an RTMP session, after the handshake."""

    def __init__(self):
        self.buf = bytearray()
        self.pos = 0             # stream offset of buf[0]
        self.hs = 0              # handshake bytes still to skip
        self.size = 128
        self.cs = {}
        self.fmt = collections.Counter()
        self.csid = collections.defaultdict(collections.Counter)
        self.sizes, self.ext, self.ext3 = [], 0, 0
        self.handshake = b""

    def feed(self, data):
        self.buf += data
        while True:
            m = self._chunk()
            if m is None:
                return
            if m is not True:
                yield m

    def _chunk(self):
        b = self.buf
        if len(self.handshake) < 1 + 1536 + 1536:
            n = min(3073 - len(self.handshake), len(b))
            self.handshake += bytes(b[:n])
            del b[:n]
            self.pos += n
            if len(self.handshake) < 3073:
                return None
        if not b:
            return None
        p, fmt, cs = 1, b[0] >> 6, b[0] & 63
        if cs == 0:
            if len(b) < 2:
                return None
            cs, p = 64 + b[1], 2
        elif cs == 1:
            if len(b) < 3:
                return None
            cs, p = 64 + b[1] + 256 * b[2], 3
        n = (11, 7, 3, 0)[fmt]
        if len(b) < p + n + 4:
            if len(b) < p + n:
                return None
        st = self.cs.get(cs)
        if st is None:
            if fmt != 0:
                raise ValueError(f"csid {cs} starts with fmt {fmt} at {self.pos}")
            st = self.cs[cs] = dict(ts=0, delta=0, len=0, typ=0, sid=0, body=b"", ext=False, fmt=0)
        new = not st["body"]
        h = bytes(b[p:p + n])
        ts = int.from_bytes(h[:3], "big") if fmt < 3 else None
        ext = ts == 0xFFFFFF if fmt < 3 else st["ext"]
        p += n
        if ext:
            if len(b) < p + 4:
                return None
            v = int.from_bytes(b[p:p + 4], "big")
            p += 4
            if fmt < 3:
                ts = v
        length = int.from_bytes(h[3:6], "big") if fmt < 2 else st["len"]
        want = min(self.size, length - len(st["body"]))
        if len(b) < p + want:
            return None
        # the whole chunk is here: commit
        if new:
            if fmt == 0:
                st["ts"], st["delta"], st["sid"] = ts, ts, int.from_bytes(h[7:11], "little")
                st["start"] = 0
            elif fmt < 3:
                st["delta"] = ts
                st["ts"] = st["ts"] + ts & 0xFFFFFFFF
            else:
                st["ts"] = st["ts"] + st["delta"] & 0xFFFFFFFF
            if fmt < 2:
                st["len"], st["typ"] = length, h[6]
            st["fmt"] = fmt
            self.fmt[f"first{fmt}"] += 1
        else:
            self.fmt[f"cont{fmt}"] += 1
        st["ext"] = ext
        self.ext += ext and fmt < 3
        self.ext3 += ext and fmt == 3
        st["body"] += bytes(b[p:p + want])
        start = self.pos
        del b[:p + want]
        self.pos += p + want
        if len(st["body"]) < st["len"]:
            return True
        body, st["body"] = st["body"], b""
        self.csid[cs][f"type{st['typ']}/fmt{st['fmt']}"] += 1
        if st["typ"] == 1 and len(body) >= 4:
            self.size = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
            self.sizes.append(self.size)
        return dict(cs=cs, fmt=st["fmt"], typ=st["typ"], sid=st["sid"], ts=st["ts"], body=body, at=start)


NAMES = {1: "SetChunkSize", 2: "Abort", 3: "Ack", 4: "UserControl", 5: "WindowAckSize",
         6: "SetPeerBandwidth", 8: "audio", 9: "video", 15: "data(AMF3)", 17: "command(AMF3)",
         18: "data", 20: "command", 22: "aggregate"}


def describe(m):
    b = m["body"]
    if m["typ"] in (18, 20):
        try:
            return json.dumps(amf0_all(b))
        except Exception as e:
            return f"unreadable AMF0 ({e}): {b[:40].hex()}"
    if m["typ"] in (1, 2, 3, 5):
        return str(int.from_bytes(b[:4], "big"))
    if m["typ"] == 6:
        return f"{int.from_bytes(b[:4], 'big')} limit {b[4]}"
    if m["typ"] == 4:
        return f"event {int.from_bytes(b[:2], 'big')} {b[2:].hex()}"
    if m["typ"] in (8, 9):
        return f"{classify(m['typ'], b)} {b[:6].hex()}"
    return b[:24].hex()


def session(data):
    """Parse a capture; returns (messages, [client, server] Chunks, records)."""
    side, msgs, recs = [Chunks(), Chunks()], [], []
    for us, d, payload in cap_records(data):
        recs.append((us, d, len(payload)))
        for m in side[d].feed(payload):
            m["us"], m["dir"] = us, d
            msgs.append(m)
    return msgs, side, recs


def media_of(msgs):
    for m in msgs:
        if m["dir"] == 0 and m["typ"] in (8, 9, 18):
            body = m["body"]
            if m["typ"] == 18 and body[:16] == b"\x02\x00\x0d@setDataFrame":
                body = body[16:]
            if m["typ"] == 18 and not body.startswith(b"\x02\x00\x0aonMetaData"):
                continue
            yield m["typ"], m["ts"], body


def flv_bytes(tags, flags=5):
    out = bytearray(b"FLV\x01" + bytes([flags]) + b"\0\0\0\x09\0\0\0\0")
    for typ, ts, body in tags:
        out += flv_tag(typ, ts, body)
    return bytes(out)


def flv_tag(typ, ts, body):
    ts &= 0xFFFFFFFF
    n = len(body)
    return (bytes([typ]) + n.to_bytes(3, "big") + (ts & 0xFFFFFF).to_bytes(3, "big")
            + bytes([ts >> 24, 0, 0, 0]) + body + (n + 11).to_bytes(4, "big"))


# ---------------------------------------------------------------------- facts


def handshake_kind(c):
    """'digest' when C1 names a Flash version and zero is not at 4..8."""
    if len(c.handshake) < 1537:
        return "incomplete"
    ver = c.handshake[5:9]
    return f"version {c.handshake[0]}, C1 time {int.from_bytes(c.handshake[1:5], 'big')}, bytes 4-7 {ver.hex()}"


def file_facts(path):
    data = open(path, "rb").read()
    d = {"file": os.path.basename(path), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    cnt = Counter()
    if path.endswith(".rtmpcap"):
        msgs, side, recs = session(data)
        for typ, ts, body in media_of(msgs):
            cnt.add(typ, ts, body)
        d["format"] = "rtmpcap"
        d.update(cnt.dict())
        d["capture_seconds"] = round(recs[-1][0] / 1e6, 3)
        for i, name in enumerate(("client", "server")):
            s = side[i]
            d[name] = {
                "bytes": sum(r[2] for r in recs if r[1] == i),
                "reads": sum(1 for r in recs if r[1] == i and r[2]),
                "handshake": handshake_kind(s),
                "chunk_sizes_set": s.sizes,
                "first_chunk_header_formats": {k[-1]: v for k, v in sorted(s.fmt.items()) if k.startswith("first")},
                "continuation_chunks": sum(v for k, v in s.fmt.items() if k.startswith("cont")),
                "extended_timestamps": s.ext, "extended_timestamps_on_fmt3": s.ext3,
                "chunk_streams": {str(k): dict(v) for k, v in sorted(s.csid.items())},
                "unfinished_bytes": len(s.buf) + sum(len(c["body"]) for c in s.cs.values()),
            }
        d["commands"] = [("client " if m["dir"] == 0 else "server ") + command_name(m)
                         for m in msgs if m["typ"] == 20]
    else:
        d["format"] = "flv"
        try:
            for _, typ, ts, _, body, _ in flv_tags(data):
                cnt.add(typ, ts, body)
            d["framing"] = "intact"
        except ValueError as e:
            d["framing"] = "breaks: " + str(e)
            d["ignoring_previous_tag_size"] = lenient(data)
        d["flags"] = data[4]
        d.update(cnt.dict())
    return d


def lenient(data):
    """What a reader that does not look at PreviousTagSize gets."""
    cnt, framing = Counter(), "intact"
    try:
        for _, typ, ts, _, body, _ in flv_tags(data, prevsize=False):
            cnt.add(typ, ts, body)
    except ValueError as e:
        framing = "breaks: " + str(e)
    d = cnt.dict()
    return {"framing": framing, "tags": d["tags"], "last_timestamp_ms": d["last_timestamp_ms"]}


def command_name(m):
    try:
        a = amf0_all(m["body"])
    except Exception:
        return "?"
    if a[0] == "onStatus" and len(a) > 3 and isinstance(a[3], dict):
        return f"onStatus {a[3].get('code')}"
    return str(a[0])


def ffprobe_packets(path):
    """Packets per media type as FFmpeg's own FLV reader counts them: ffprobe, and
    where FFNEW names a newer ffmpeg (for Enhanced RTMP), that one's packet list."""
    tmp = None
    if path.endswith(".rtmpcap"):
        msgs, _, _ = session(open(path, "rb").read())
        tmp = tempfile.NamedTemporaryFile(suffix=".flv", delete=False)
        tmp.write(flv_bytes(media_of(msgs)))
        tmp.close()
    name = tmp.name if tmp else path
    try:
        if FFNEW and any(len(c) >= 4 for c in file_facts(path)["codecs"]):
            r = subprocess.run([FFNEW, "-v", "error", "-nostdin", "-copyts", "-i", name, "-map", "0", "-c", "copy",
                                "-copyinkf", "-f", "framecrc", "-"], capture_output=True, text=True, timeout=60)
            kinds = dict(re.findall(r"#media_type (\d+): (\w+)", r.stdout))
            n = collections.Counter(kinds[line.split(",")[0].strip()] for line in r.stdout.splitlines()
                                    if line and line[0] != "#")
            n["by"] = "the newer ffmpeg"
        else:
            r = subprocess.run([FFPROBE, "-v", "error", "-show_entries", "packet=codec_type,flags",
                                "-of", "csv=p=0", name], capture_output=True, text=True, timeout=60)
            n = collections.Counter()
            for line in r.stdout.splitlines():
                f = line.split(",")
                n[f[0]] += 1
                if f[0] == "video" and len(f) > 1 and f[1].startswith("K"):
                    n["video_key"] += 1
            n["by"] = "ffprobe"
    except FileNotFoundError:
        return {"error": "no ffprobe"}
    finally:
        if tmp:
            os.unlink(tmp.name)
    out = dict(n)
    if r.stderr.strip():
        msg = re.sub(r"0x[0-9a-f]+", "0x..", r.stderr.strip().splitlines()[0])
        out["first_message"] = re.sub(r"/\S*/", "", msg.replace(name, os.path.basename(path)))[:160]
    return out


def obs_facts(log):
    """Lag and encoder facts out of OBS's log."""
    d, text = {}, open(log, errors="replace").read()
    for key, pat in (
            ("frames_output", r"Total frames output: (\d+)"),
            ("lagged_frames", r"lagged frames due to rendering lag/stalls: (\d+ \([\d.]+%\))"),
            ("skipped_encoding_frames", r"skipped frames due to encoding lag: (\S+ \([\d.]+%\))"),
            ("dropped_network_frames", r"dropped frames due to insufficient bandwidth/connection stalls: (\d+ \([\d.]+%\))"),
            ("renderer", r"Loading up OpenGL on adapter (.*)"),
            ("x264_keyint", r"\tkeyint: +(\d+)"),
            ("canvas", r"base resolution: +(\S+)"),
            ("encoded_size", r"\twidth: +(\d+)\n\theight: +\d+")):
        m = re.search(pat, text)
        if m:
            d[key] = m.group(1)
    for k in ("lagged_frames", "skipped_encoding_frames"):
        if "frames_output" in d:
            d.setdefault(k, "0")
    return d


def stats_facts(path):
    """OBS's own counters (obs-websocket GetStats), taken just before the stop."""
    d = json.load(open(path))
    return {k: d[k] for k in ("renderSkippedFrames", "renderTotalFrames",
                              "outputSkippedFrames", "outputTotalFrames") if k in d}


def lag_percent(log, stats):
    """Frames lagged (rendering) plus skipped (encoding), in percent, rounded up."""
    o = obs_facts(log)
    got = [re.search(r"([\d.]+)%", o.get(k, "")) for k in ("lagged_frames", "skipped_encoding_frames")]
    if "frames_output" in o:
        return int(sum(float(m.group(1)) for m in got if m) + 0.999)
    s = stats_facts(stats)     # OBS was killed: its log has no summary
    return int(100 * s["renderSkippedFrames"] / max(1, s["renderTotalFrames"])
               + 100 * s["outputSkippedFrames"] / max(1, s["outputTotalFrames"]) + 0.999)


# --------------------------------------------------------------------- mangle

MANGLE_HELP = """steps (applied in order, tag indexes count from 0 in the current list):
  drop-media-after=N    keep the tags before index N
  cut-bytes=N           drop the last N bytes of the file
  cut-in-tag=N          end the file in the middle of the body of tag N
  cut-in-header=N       end the file 6 bytes into the header of tag N
  cut-in-prevsize=N     end the file 2 bytes into the PreviousTagSize after tag N
  bad-prevsize=N[,V]    PreviousTagSize after tag N := V (default: true value + 1)
  zero-prevsizes        every PreviousTagSize := 0
  garbage=N,BYTES,SEED  insert BYTES pseudo-random bytes before tag N
  corrupt=N,OFF,XOR     xor one byte of tag N's body at OFF
  bad-length=N,DELTA    DataSize in the header of tag N += DELTA (body unchanged)
  bad-type=N,T          tag type of tag N := T
  shift=MS              add MS to every timestamp of audio/video tags
  shift-from=N,MS       add MS (may be negative) from tag N on
  rewrap=N,BASE         like shift, so that tag N lands on BASE (32-bit, wraps)
  drop-ext              write only the low 24 bits of every timestamp (byte 7 := 0)
  dup=N                 write tag N twice
  swap=N                swap tag N and tag N+1
  drop=N[-M]            leave out tags N..M
  empty=N,T             insert a tag of type T with an empty body before tag N
  header-gap=N          header DataOffset := 9+N with N filler bytes after it
  flags=N               header flag byte := N"""


def mangle(src, dst, steps):
    data = open(src, "rb").read()
    # an item is [type, ts, body, PreviousTagSize or None, DataSize or None] or raw bytes
    items = [[t, ts, b, None, None] for _, t, ts, _, b, _ in flv_tags(data)]
    flags, gap, cut, tail, keep_ext, zero = data[4], 0, None, 0, True, False

    def at(n):
        return [i for i in items if not isinstance(i, bytes)][int(n)]

    for step in steps:
        name, _, arg = step.partition("=")
        a = arg.split(",")
        if name == "drop-media-after":
            items = items[:int(a[0])]
        elif name == "cut-bytes":
            tail = int(a[0])
        elif name in ("cut-in-tag", "cut-in-header", "cut-in-prevsize"):
            cut = (name, at(a[0]))
        elif name == "bad-prevsize":
            it = at(a[0])
            it[3] = int(a[1], 0) if len(a) > 1 else len(it[2]) + 12
        elif name == "zero-prevsizes":
            zero = True
        elif name == "garbage":
            x, out = int(a[2]) or 1, bytearray()
            for _ in range(int(a[1])):        # xorshift32: the same bytes everywhere
                x ^= x << 13 & 0xFFFFFFFF
                x ^= x >> 17
                x ^= x << 5 & 0xFFFFFFFF
                out.append(x & 255)
            items.insert(items.index(at(a[0])), bytes(out))
        elif name == "corrupt":
            it = at(a[0])
            b = bytearray(it[2])
            b[int(a[1])] ^= int(a[2], 0)
            it[2] = bytes(b)
        elif name == "bad-length":
            it = at(a[0])
            it[4] = len(it[2]) + int(a[1])
        elif name == "bad-type":
            at(a[0])[0] = int(a[1], 0)
        elif name in ("shift", "shift-from", "rewrap"):
            if name == "shift":
                n, ms = 0, int(a[0])
            elif name == "shift-from":
                n, ms = int(a[0]), int(a[1])
            else:
                n, ms = 0, int(a[1], 0) - at(a[0])[1]
            tags = [i for i in items if not isinstance(i, bytes)]
            for i, it in enumerate(tags):
                if i >= n and it[0] in (8, 9):
                    it[1] = it[1] + ms & 0xFFFFFFFF
        elif name == "drop-ext":
            keep_ext = False
        elif name == "dup":
            it = at(a[0])
            items.insert(items.index(it), list(it))
        elif name == "swap":
            i = items.index(at(a[0]))
            items[i], items[i + 1] = items[i + 1], items[i]
        elif name == "drop":
            n, _, m = a[0].partition("-")
            gone = [at(i) for i in range(int(n), int(m or n) + 1)]
            items = [i for i in items if not any(i is g for g in gone)]
        elif name == "empty":
            items.insert(items.index(at(a[0])), [int(a[1]), at(a[0])[1], b"", None, None])
        elif name == "header-gap":
            gap = int(a[0])
        elif name == "flags":
            flags = int(a[0])
        else:
            sys.exit(f"unknown step {name}\n{MANGLE_HELP}")
    out = bytearray(b"FLV\x01" + bytes([flags]) + (9 + gap).to_bytes(4, "big") + b"\xAA" * gap + b"\0\0\0\0")
    for it in items:
        if isinstance(it, bytes):
            out += it
            continue
        typ, ts, body, prev, size = it
        tag = bytearray(flv_tag(typ, ts if keep_ext else ts & 0xFFFFFF, body))
        if size is not None:
            tag[1:4] = size.to_bytes(3, "big")
        if zero or prev is not None:
            tag[-4:] = (0 if zero else prev).to_bytes(4, "big")
        if cut and cut[1] is it:
            keep = {"cut-in-tag": 11 + len(body) // 2, "cut-in-header": 6,
                    "cut-in-prevsize": 11 + len(body) + 2}[cut[0]]
            out += tag[:keep]
            break
        out += tag
    if tail:
        del out[-tail:]
    open(dst, "wb").write(out)


# ------------------------------------------------------------------- manifest


def place(folder, name):
    """Where the file called NAME lives below FOLDER: flv/ or rtmp/, by its ending."""
    return os.path.join(folder, subfolder(name), name)


def subfolder(name):
    return "rtmp" if name.endswith(".rtmpcap") else "flv"


def facts_path(path):
    return os.path.splitext(path)[0] + ".facts.json"


def manifest(folder):
    out = []
    names = [n for sub in ("flv", "rtmp") for n in os.listdir(os.path.join(folder, sub))]
    for name in sorted(n for n in names if n.endswith((".flv", ".rtmpcap"))):
        path = place(folder, name)
        d = file_facts(path)
        fp = facts_path(path)
        if os.path.exists(fp):
            d.update(json.load(open(fp)))
        d["ffprobe_packets"] = ffprobe_packets(path)
        out.append(d)
    old = {}
    mpath = os.path.join(folder, "manifest.json")
    if os.path.exists(mpath):      # keep the "made by" facts of files not re-recorded
        old = {o["file"]: o for o in json.load(open(mpath))}
    for d in out:
        for k in ("encoder", "made", "obs", "tap", "how", "source"):
            if k not in d and d["file"] in old and k in old[d["file"]] \
                    and old[d["file"]]["sha256"] == d["sha256"]:
                d[k] = old[d["file"]][k]
    json.dump(out, open(mpath, "w"), indent=1)
    for d in out:
        if os.path.exists(facts_path(place(folder, d["file"]))):
            os.unlink(facts_path(place(folder, d["file"])))
    return out


def agrees(d):
    """Does ffprobe count what we count?  Only asked of intact files."""
    p, t = d["ffprobe_packets"], d["tags"]
    if d.get("framing", "intact") != "intact" or "error" in p:
        return None
    return (p.get("video", 0), p.get("audio", 0)) == (t["video_key"] + t["video_inter"], t["audio"])


def verify(folder):
    bad = 0
    for d in json.load(open(os.path.join(folder, "manifest.json"))):
        now = file_facts(place(folder, d["file"]))
        wrong = [k for k, v in now.items() if json.loads(json.dumps(v)) != d.get(k)]
        a = agrees(dict(d, ffprobe_packets=ffprobe_packets(place(folder, d["file"]))))
        print(f"{d['file']}: {'DIFFERS ' + str(wrong) if wrong else 'as in the manifest'}; ffprobe "
              + {True: "agrees", False: "counts differently", None: "not asked (damaged)"}[a])
        bad += bool(wrong)
    return bad


def seconds(d):
    """Last minus first timestamp of coded media, where that is a duration."""
    span = (d.get("last_media_ms", 0) - d.get("first_media_ms", 0)) & 0xFFFFFFFF
    return f"{span / 1000:.2f}" if span < 10**6 else "–"


def table(rows):
    """The README's Markdown table."""
    out = ["| file | encoder | picture | video | GOP | B-frames | audio | seconds | first – last ms | bytes "
           "| key / inter / audio / script / vseq / aseq / vend | FFmpeg's count, video + audio | how | sha256 |",
           "|" + "---|" * 14]
    for d in rows:
        t, m, p = d["tags"], d.get("made", {}), d["ffprobe_packets"]
        cts = d.get("composition_time_ms")
        out.append("| " + " | ".join(str(x) for x in (
            f"`{subfolder(d['file'])}/{d['file']}`", d.get("encoder", ""),
            " ".join(x for x in (m.get("size", ""), m.get("fps", "") and m["fps"] + " fps") if x),
            m.get("video", "").replace("-c:v ", ""), m.get("gop", ""),
            "" if not cts else f"yes, offsets {cts['min']}…{cts['max']} ms" if cts["max"] != cts["min"] else f"no, offset {cts['min']}",
            m.get("audio", "").replace("-c:a ", ""), seconds(d),
            f"{d['first_timestamp_ms']} – {d['last_timestamp_ms']}", d["bytes"],
            " / ".join(str(t[k]) for k in ("video_key", "video_inter", "audio", "script", "video_seq", "audio_seq", "video_end")),
            f"{p.get('video', 0)} + {p.get('audio', 0)}", f"`{m.get('how', '')}`", f"`{d['sha256']}`")) + " |")
    return "\n".join(out)


def put_table(folder, rows):
    """Renew the table in DIR/README.md, between its two markers."""
    path, begin, end = os.path.join(folder, "README.md"), "<!-- table -->", "<!-- /table -->"
    text = open(path).read() if os.path.exists(path) else f"# Captures\n\n{begin}\n{end}\n"
    if begin in text and end in text:
        head, rest = text.split(begin, 1)
        text = head + begin + "\n" + table(rows) + "\n" + end + rest.split(end, 1)[1]
        open(path, "w").write(text)


def main():
    cmd = sys.argv[1] if len(sys.argv) > 1 else ""
    rest = sys.argv[2:]
    if cmd == "show":
        d = file_facts(rest[0])
        d["ffprobe_packets"] = ffprobe_packets(rest[0])
        print(json.dumps(d, indent=1))
    elif cmd == "messages":
        for m in session(open(rest[0], "rb").read())[0]:
            print(f"{m['us'] / 1e6:10.6f} {'C>S' if m['dir'] == 0 else 'S>C'} cs={m['cs']} fmt={m['fmt']} "
                  f"ts={m['ts']} sid={m['sid']} len={len(m['body'])} {NAMES.get(m['typ'], m['typ'])}: {describe(m)[:400]}")
    elif cmd == "extract":
        open(rest[1], "wb").write(flv_bytes(media_of(session(open(rest[0], "rb").read())[0])))
    elif cmd == "mangle":
        if len(rest) < 3:
            sys.exit(MANGLE_HELP)
        mangle(rest[0], rest[1], rest[2:])
    elif cmd == "facts":
        ap = argparse.ArgumentParser()
        ap.add_argument("file")
        ap.add_argument("--encoder", required=True)
        ap.add_argument("--obs-log")
        ap.add_argument("--obs-stats")
        ap.add_argument("--tap", default="")
        ap.add_argument("--set", nargs="*", default=[])
        a = ap.parse_args(rest)
        d = {"encoder": a.encoder, "made": dict(x.split("=", 1) for x in a.set)}
        if a.obs_log:
            d["obs"] = obs_facts(a.obs_log)
            if a.obs_stats:
                d["obs"]["stats_before_stop"] = stats_facts(a.obs_stats)
        if a.tap:
            d["tap"] = a.tap
        json.dump(d, open(facts_path(a.file), "w"), indent=1)
        if a.obs_log:
            print(f"  {os.path.basename(a.file)}: " + ", ".join(f"{k} {v}" for k, v in d["obs"].items() if "frames" in k))
    elif cmd == "lag":
        print(lag_percent(*rest))
    elif cmd == "manifest":
        rows = manifest(rest[0])
        put_table(rest[0], rows)
        for d in rows:
            if agrees(d) is False:
                print(f"NOTE {d['file']}: ffprobe counts differently: {d['ffprobe_packets']} / {d['tags']}", file=sys.stderr)
    elif cmd == "table":
        put_table(rest[0], json.load(open(os.path.join(rest[0], "manifest.json"))))
    elif cmd == "verify":
        return verify(rest[0])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
