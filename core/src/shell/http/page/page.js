// The page: what is live, and one stream of it in a player that stays near the newest picture.
//
// Text of streams reaches the document as text nodes only; the response's policy forbids the rest.

const REFRESH_MS = 1000;
/** How far behind the newest picture to play, in seconds; grows with every stall, shrinks in quiet. */
const DELAY = { start: 0.5, min: 0.35, max: 4, quiet_ms: 30_000 };
/** Farther behind than this, a jump is kinder than hurry. */
const JUMP_S = 2.5;
/** What has been seen is kept this long, in seconds. */
const KEEP_S = 20;
const RETRY_MS = { min: 250, max: 2000 };
/** A response without a byte for so long is dead, whatever the network says. */
const SILENCE_MS = 6000;
const HLS = "application/vnd.apple.mpegurl";

const $ = (id) => document.getElementById(id);
const video = $("video");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const path_of = (key, ending) => "/" + key.split("/").map(encodeURIComponent).join("/") + ending;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
  made.append(...children.filter((child) => child != null));
  return made;
}

// ---- Words ----

const NAMES = { h264: "H.264", hevc: "HEVC", av1: "AV1", vp9: "VP9", aac: "AAC", opus: "Opus", mp3: "MP3", flac: "FLAC" };
const name_of = (codec) => NAMES[codec] ?? codec;
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const rate = (bits) => (bits >= 1e6 ? `${(bits / 1e6).toFixed(2)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`);

function video_words(info) {
  if (!info) return "–";
  const size = info.width && info.height ? `${info.width}×${info.height}` : "";
  const frames = info.frame_rate ? `${+info.frame_rate.toFixed(2)} fps` : "";
  return [name_of(info.codec), size, frames].filter(Boolean).join(" · ");
}

function audio_words(info) {
  if (!info) return "–";
  const hertz = info.sample_rate ? `${info.sample_rate / 1000} kHz` : "";
  const channels = { 1: "mono", 2: "stereo" }[info.channels] ?? (info.channels ? `${info.channels} channels` : "");
  return [name_of(info.codec), hertz, channels].filter(Boolean).join(" · ");
}

function uptime_words(total) {
  const [days, hours, minutes] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days) return `${plural(days, "day")} ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${total} s`;
}

const is_viewer = (subscriber) => subscriber.kind !== "consumer";
const viewers_of = (stream) => stream.subscribers.filter(is_viewer);
const count_viewers = (stream) => viewers_of(stream).length + (stream.hls?.mp4_viewers ?? 0);
const lag_of = (stream) => viewers_of(stream).reduce((sum, { lag }) => sum + lag.overflow_tags + lag.disposable_tags, 0);

function viewers_words(stream) {
  const kinds = {};
  for (const { kind } of viewers_of(stream)) kinds[kind] = (kinds[kind] ?? 0) + 1;
  if (stream.hls?.mp4_viewers) kinds.mp4 = stream.hls.mp4_viewers;
  return Object.entries(kinds).map(([kind, n]) => `${n} ${kind}`).join(", ");
}

// ---- Server ----

let streams = [];
let is_reachable = null;
let rtmp_port = 1935;
const bitrates = new Map();

async function refresh() {
  try {
    const response = await fetch("/api/streams", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const answer = await response.json();
    streams = answer.streams;
    rtmp_port = answer.rtmp_port;
    is_reachable = true;
    $("server").textContent = `version ${answer.version} · up ${uptime_words(answer.uptime_seconds)}`;
  } catch {
    is_reachable = false;
    $("server").textContent = "the server does not answer; trying again";
  }
  $("server").classList.toggle("bad", !is_reachable);
  if (is_reachable) for (const key of bitrates.keys()) if (!find(key)) bitrates.delete(key);
  if (is_reachable) for (const { key, bits_per_second } of streams) remember(bitrates, key, bits_per_second);
  show_streams();
  choose();
  show_facts();
}

const find = (key) => streams.find((stream) => stream.key === key);

function remember(history, key, value) {
  const values = history.get(key) ?? [];
  values.push(value);
  history.set(key, values.slice(-60));
}

/** A line through values, from the right edge; the highest of them fills the height. */
function line(values, width, height, floor = 0) {
  const max = Math.max(floor, ...values);
  const y = (value) => (height - 1 - (max ? (value / max) * (height - 3) : 0)).toFixed(1);
  return values.map((value, i) => `${i ? "L" : "M"}${width - (values.length - 1 - i) * (width / 59)} ${y(value)}`).join("");
}

const SVG = "http://www.w3.org/2000/svg";
function spark(values) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 104 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", line(values, 104, 24));
  svg.append(path);
  return svg;
}

/** Where a stream goes beside its viewers: relays, and the archive's file. */
function targets(stream) {
  const target = (name, state, where, why) => {
    const word = element("span", { class: `state ${state}` }, `${name} ${state}`);
    return element("span", { class: "target", title: [where, why].filter(Boolean).join("\n") }, word, why ? ` · ${why}` : "");
  };
  const relay = ({ target: where, state, reason, until_unix_ms }) => {
    const wait = state === "backoff" && until_unix_ms ? `again in ${Math.max(0, Math.round((until_unix_ms - Date.now()) / 1000))} s` : null;
    return target("relay", state, where, [wait, state === "live" ? null : reason].filter(Boolean).join(", "));
  };
  const { archive } = stream;
  const state = archive?.failure ? "failed" : "recording";
  const gaps = archive?.gaps ? plural(archive.gaps, "gap") : null;
  const files = archive ? [target("archive", state, archive.file, archive.failure ?? gaps)] : [];
  return [...(stream.relays ?? []).map(relay), ...files];
}

function row(stream) {
  const link = element("a", { href: "#" + encodeURI(stream.key), title: `Play ${stream.key}` }, stream.key);
  const lag = lag_of(stream);
  const to = targets(stream);
  return element("tr", { "aria-current": stream.key === chosen ? "true" : null },
    element("td", { class: "key" }, link),
    element("td", {}, element("span", { class: `state ${stream.state}` }, stream.state)),
    element("td", {}, video_words(stream.video)),
    element("td", {}, audio_words(stream.audio)),
    element("td", { class: "n" }, rate(stream.bits_per_second)),
    element("td", {}, spark(bitrates.get(stream.key) ?? [])),
    element("td", { class: "n", title: viewers_words(stream) }, String(count_viewers(stream))),
    element("td", { class: "n" }, element("span", { class: lag ? "lagging" : "quiet" }, lag.toLocaleString("en"))),
    element("td", {}, ...(to.length ? to : [element("span", { class: "quiet" }, "–")])));
}

function show_streams() {
  // A link that has the keyboard keeps it.
  const focused = document.activeElement?.closest?.("#streams a")?.getAttribute("href");
  $("streams").replaceChildren(...streams.map(row));
  if (focused) [...$("streams").querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
  $("empty").hidden = streams.length > 0 || is_reachable === false;
  document.querySelector(".scroll").hidden = streams.length === 0;
}

// ---- Which stream ----

let chosen;
const wanted = () => { try { return decodeURI(location.hash.slice(1)) || null; } catch { return null; } };

function choose() {
  const key = wanted() ?? (chosen && find(chosen) ? chosen : streams.find(({ state }) => state === "live")?.key) ?? chosen ?? null;
  if (key === chosen) return;
  chosen = key;
  delays.length = 0;
  play(key);
}

addEventListener("hashchange", () => { choose(); show_streams(); show_facts(); });

function notice(mode, title, text = "", code = "") {
  $("stage").dataset.mode = mode;
  $("notice-title").textContent = title;
  $("notice-text").textContent = text;
  $("notice-code").textContent = code;
  $("notice-code").hidden = !code;
  $("controls").hidden = mode !== "play";
}

function notice_absent() {
  const stream = chosen && find(chosen);
  const seen = video.readyState >= 2 ? "wait" : "idle";
  if (is_reachable === null) return notice("idle", "Connecting");
  if (!is_reachable) return notice(seen, "The server does not answer", "This page tries again by itself.");
  if (stream?.state === "grace") return notice(seen, "The publisher is away", "It may return; the picture goes on when it does.");
  if (chosen) return notice(seen, `${chosen} is not live`, "It plays here as soon as somebody publishes it.", publish_url(chosen));
  notice("idle", "Nothing is live", "Point an encoder at this address; the picture appears here by itself.", publish_url("live/NAME"));
}

const publish_url = (key) => `rtmp://${location.hostname}${rtmp_port === 1935 ? "" : `:${rtmp_port}`}/${key}`;

// ---- Playing ----

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
let playing = null;
let delay_wanted = DELAY.start;
let stalls = 0;
let quiet_since = performance.now();
let sought = 0;
let is_paused_by_user = false;

/** Plays one stream until another is chosen, through every end of stream and connection. */
async function play(key) {
  playing?.abort();
  const control = (playing = new AbortController());
  let wait = RETRY_MS.min;
  while (!control.signal.aborted) {
    const stream = key && find(key);
    if (!stream || !is_reachable || (stream.state !== "live" && stream.state !== "grace")) {
      notice_absent();
      await sleep(RETRY_MS.min);
      continue;
    }
    const began = performance.now();
    try {
      await play_once(stream, control.signal);
    } catch (error) {
      if (control.signal.aborted) return;
      if (error instanceof Unplayable) {
        notice("idle", "This browser cannot play it", error.message, location.origin + path_of(key, ".flv"));
        await changed(stream, control.signal);
        continue;
      }
      console.info(`${key}: ${error.message}`);
    }
    if (control.signal.aborted) return;
    wait = performance.now() - began > 5000 ? RETRY_MS.min : Math.min(wait * 2, RETRY_MS.max);
    notice_absent_or_again(key);
    await sleep(wait);
  }
}

function notice_absent_or_again(key) {
  if (is_reachable && find(key)?.state === "live") notice("wait", "Connecting again");
  else notice_absent();
}

class Unplayable extends Error {}

const codecs_of = ({ video, audio }) => [video, audio].filter(Boolean).map((track) => track.codec_string ?? track.codec);

/** Until its codecs, or its session, are others. */
async function changed(stream, signal) {
  const mark = ({ session } = {}, now) => `${session} ${now ? codecs_of(now) : ""}`;
  const before = mark(stream, stream);
  while (!signal.aborted && mark(find(stream.key), find(stream.key)) === before) await sleep(RETRY_MS.max);
}

async function play_once(stream, signal) {
  const codecs = codecs_of(stream);
  if (stream.hls?.state === "unsupported") throw new Unplayable(`${stream.hls.reason}. Other players can have the stream at`);
  if (codecs.length === 0) return sleep(RETRY_MS.min);
  const type = `video/mp4; codecs="${codecs.join(", ")}"`;
  if (Source?.isTypeSupported(type)) return play_mse(stream, type, signal);
  if (!Source && video.canPlayType(HLS)) return play_native(stream, signal);
  const words = [video_words(stream.video), audio_words(stream.audio)].filter((words) => words !== "–").join(", ");
  throw new Unplayable(`It has no decoder for ${words} (${codecs.join(", ")}). Other players can have the stream at`);
}

/** `/APP/NAME.mp4`, an fMP4 without an end, through a SourceBuffer. */
async function play_mse(stream, type, outer) {
  const inner = new AbortController();
  const signal = AbortSignal.any([outer, inner.signal]);
  const source = new Source();
  const url = URL.createObjectURL(source);
  video.disableRemotePlayback = true;
  const opened = once(source, "sourceopen", signal);
  video.src = url;
  try {
    await opened;
    const buffer = source.addSourceBuffer(type);
    let last_bytes = performance.now();
    const guard = setInterval(() => {
      tend(buffer);
      if (performance.now() - last_bytes > SILENCE_MS && find(stream.key)?.state === "live") inner.abort(new Error("silence"));
      if (video.error) inner.abort(new Error(video.error.message));
    }, 100);
    try {
      const response = await fetch(path_of(stream.key, ".mp4"), { signal, cache: "no-store" });
      if (response.status === 415 || response.status === 406) throw new Unplayable((await response.text()).trim());
      if (!response.ok) throw new Error((await response.text()).trim());
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        last_bytes = performance.now();
        await append(buffer, value, signal);
        begin(buffer);
      }
      // What is buffered is still worth seeing.
      await until(() => ahead(buffer) < 0.1, signal, 5000);
    } finally {
      clearInterval(guard);
    }
  } finally {
    inner.abort();
    URL.revokeObjectURL(url);
  }
}

/** Whoever has no MediaSource has HLS. */
async function play_native(stream, signal) {
  video.src = path_of(stream.key, "/index.m3u8");
  start();
  const failed = new Promise((_, fail) => video.addEventListener("error", () => fail(new Error("HLS failed")), { once: true, signal }));
  const shown = setInterval(() => { if (video.readyState >= 3) notice("play", ""); }, 200);
  try {
    await Promise.race([failed, once(video, "ended", signal)]);
  } finally {
    clearInterval(shown);
  }
}

function once(target, event, signal) {
  return new Promise((done, fail) => {
    target.addEventListener(event, done, { once: true });
    signal.addEventListener("abort", () => fail(signal.reason), { once: true });
  });
}

async function until(is_so, signal, ms) {
  for (const end = performance.now() + ms; !is_so() && performance.now() < end && !signal.aborted;) await sleep(50);
}

async function append(buffer, bytes, signal) {
  signal.throwIfAborted();
  const updated = once(buffer, "updateend", signal);
  try {
    buffer.appendBuffer(bytes);
  } catch (error) {
    updated.catch(() => {});
    if (error.name !== "QuotaExceededError") throw error;
    await remove(buffer, video.currentTime - 1, signal);
    return append(buffer, bytes, signal);
  }
  await updated;
  const { buffered } = buffer;
  if (buffered.length && video.currentTime - buffered.start(0) > 2 * KEEP_S) await remove(buffer, video.currentTime - KEEP_S, signal);
}

async function remove(buffer, end, signal) {
  if (end <= 0) throw new Error("nothing can be removed");
  const updated = once(buffer, "updateend", signal);
  buffer.remove(0, end);
  await updated;
}

const end_of = ({ buffered }) => (buffered.length ? buffered.end(buffered.length - 1) : 0);
const ahead = (buffer) => end_of(buffer) - video.currentTime;

/** Starts as near to the newest picture as is safe: a decoder runs through the rest of the GOP in no time. */
function begin(buffer) {
  const { buffered } = buffer;
  if (!buffered.length) return;
  const last = buffered.length - 1;
  const target = Math.max(buffered.start(last), buffered.end(last) - delay_wanted);
  if ($("stage").dataset.mode !== "play") {
    video.currentTime = target;
    start();
    notice("play", "");
  }
}

function start() {
  if (is_paused_by_user) return;
  video.play().catch((error) => {
    if (error.name !== "NotAllowedError" || video.muted) return;
    // Browsers let nobody be loud who was not clicked.
    video.muted = true;
    video.play().catch(() => {});
  });
}

/** Keeps the distance to the newest picture: a little faster, a little slower, or a jump. */
function tend(buffer) {
  let buffered;
  try { ({ buffered } = buffer); } catch { return; }
  // A seek into what never comes would last for ever.
  if (!video.seeking) sought = performance.now();
  const is_seeking = performance.now() - sought < 1000 && video.seeking;
  if (!buffered.length || video.paused || is_seeking || $("stage").dataset.mode !== "play") return;
  const last = buffered.length - 1;
  const behind = buffered.end(last) - video.currentTime;
  // Behind a hole, or before the first picture: there is nothing to wait for where it stands.
  if (video.currentTime < buffered.start(last) || behind > delay_wanted + JUMP_S) {
    video.currentTime = Math.max(buffered.start(last), buffered.end(last) - delay_wanted);
    return;
  }
  const excess = behind - delay_wanted;
  video.playbackRate = excess > 0.2 ? 1 + Math.min(excess * 0.2, 0.1) : excess < -0.25 ? 0.96 : 1;
  // The response stays open for a publisher that may return; the first picture after it ends this.
  if (behind < 0.1 && chosen && find(chosen)?.state === "grace") return notice_absent();
  if (performance.now() - quiet_since > DELAY.quiet_ms) {
    delay_wanted = Math.max(DELAY.min, delay_wanted * 0.9);
    quiet_since = performance.now();
  }
  document.body.dataset.behind = behind.toFixed(3);
}

video.addEventListener("waiting", () => {
  if (video.seeking || $("stage").dataset.mode !== "play") return;
  stalls += 1;
  delay_wanted = Math.min(delay_wanted * 1.3 + 0.1, DELAY.max);
  quiet_since = performance.now();
});

// ---- Controls ----

function to_live() {
  is_paused_by_user = false;
  const { buffered } = video;
  if (buffered.length) video.currentTime = Math.max(buffered.start(buffered.length - 1), end_of(video) - delay_wanted);
  start();
}

function toggle_pause() {
  is_paused_by_user = !video.paused;
  if (video.paused) to_live();
  else video.pause();
}

const toggle_sound = () => { video.muted = !video.muted; };
const toggle_full = () => (document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen?.());
const KEYS = { " ": toggle_pause, k: toggle_pause, m: toggle_sound, l: to_live, f: toggle_full };

$("pause").addEventListener("click", toggle_pause);
$("sound").addEventListener("click", toggle_sound);
$("live").addEventListener("click", to_live);
$("full").addEventListener("click", toggle_full);
video.addEventListener("dblclick", toggle_full);
video.addEventListener("volumechange", () => { $("sound").textContent = video.muted ? "Sound on" : "Sound off"; });
for (const event of ["play", "pause"]) {
  video.addEventListener(event, () => {
    $("pause").textContent = video.paused ? "Play" : "Pause";
    $("stage").toggleAttribute("data-still", video.paused);
  });
}
addEventListener("keydown", (event) => {
  const act = KEYS[event.key.toLowerCase()];
  const is_taken = event.target.closest?.("button, a, input") && event.key === " ";
  if (!act || is_taken || event.ctrlKey || event.metaKey || event.altKey || $("stage").dataset.mode !== "play") return;
  event.preventDefault();
  act();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && $("stage").dataset.mode === "play" && !video.paused) to_live();
});

// ---- Facts ----

const delays = [];

function show_facts() {
  const stream = chosen && find(chosen);
  $("facts").hidden = !stream;
  document.title = stream ? `${stream.key} · Forebay` : "Forebay";
  if (!stream) return;
  const is_playing = $("stage").dataset.mode === "play" && video.buffered.length > 0;
  const behind = is_playing ? Math.max(0, end_of(video) - video.currentTime) : null;
  if (behind != null) delays.push(behind);
  if (delays.length > 60) delays.shift();
  const { totalVideoFrames = 0, droppedVideoFrames = 0 } = video.getVideoPlaybackQuality?.() ?? {};
  $("name").textContent = stream.key;
  $("latency").textContent = behind == null ? "–" : `${behind.toFixed(2)} s`;
  $("latency-chart").firstElementChild.setAttribute("d", line(delays, 120, 28, 1));
  const facts = {
    Picture: video_words(stream.video),
    Sound: audio_words(stream.audio),
    Bitrate: rate(stream.bits_per_second),
    "Key frames": stream.gop.duration_ms ? `every ${seconds(stream.gop.duration_ms)}` : "–",
    Viewers: viewers_words(stream) || "–",
    Encoder: stream.encoder ?? "–",
    Stalls: is_playing ? String(stalls) : "–",
    Dropped: is_playing ? `${droppedVideoFrames} of ${plural(totalVideoFrames, "frame")}` : "–",
  };
  $("details").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  if ($("links").dataset.key !== stream.key) {
    $("links").dataset.key = stream.key;
    const links = { HLS: "/index.m3u8", "MP4": ".mp4", FLV: ".flv" };
    $("links").replaceChildren(...Object.entries(links).map(([name, ending]) => element("a", { href: path_of(stream.key, ending) }, name)));
  }
}

for (;;) {
  await refresh();
  await sleep(document.hidden ? 4 * REFRESH_MS : REFRESH_MS);
}
