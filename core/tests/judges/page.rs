//! The page, in a browser: it plays, it says what it cannot play, and it goes on by itself.

use super::browser::Browser;
use super::live::{OBS, publish, testdata};
use super::programs::Server;
use super::scratch;

const KEY: &str = "live/x";

/// Counts what the player does, before the page's own script runs. Media events do not bubble, and
/// are seen on their way down.
const COUNT: &str = "
    window.seen = { stalls: [], errors: 0, firstRange: null };
    window.video = null;
    const count = (event) => {
        const video = (window.video = event.target);
        if (event.type === 'error') seen.errors += 1;
        // A seek waits for its picture, which is no stall.
        if (event.type === 'waiting' && !video.seeking) seen.stalls.push(video.currentTime);
        if (event.type === 'playing' && !seen.firstRange && video.buffered.length)
            seen.firstRange = video.buffered.end(video.buffered.length - 1) - video.buffered.start(0);
    };
    for (const type of ['waiting', 'error', 'playing']) document.addEventListener(type, count, true);
";

/// As long as the recordings' GOPs, and the time that the page has to begin in.
const GOP_S: f64 = 2.0;
const BEGIN_S: f64 = 2.0;
/// Before twenty seconds without one, on a machine that does much else.
const MAX_STALLS: usize = 2;

fn browse(server: &Server, name: &str) -> Browser {
    let mut browser = Browser::start(name);
    browser.prepare(COUNT);
    browser.open(&server.page());
    browser.wait_until("!!document.getElementById('notice')");
    browser
}

fn number(browser: &mut Browser, expression: &str) -> f64 {
    browser.ask(expression).as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
}

#[test]
#[ignore = "needs chromium: cargo ci judges"]
fn the_page_plays_twenty_seconds_without_a_stall() {
    let server = Server::start(&format!("--replay {} --replay-as {KEY}", testdata(OBS)));
    server.wait_until_live(KEY);
    // A GOP is there whole, or there would be no two seconds to begin in.
    server.wait_until(KEY, |stream| stream["gop"]["duration_ms"].as_u64() > Some(0));
    let mut browser = browse(&server, "plays");
    browser.wait_until("!!seen.firstRange");
    // In video time, which a busy machine does not stretch: what had come when it began is the GOP
    // it began with and what was published meanwhile.
    let first = number(&mut browser, "seen.firstRange");
    assert!(first <= GOP_S + BEGIN_S, "it began behind {first} s of video");
    let start = number(&mut browser, "video.currentTime");
    // A machine that gives nobody a turn for longer than the page stays behind stalls any player;
    // the page has to stay farther behind from then on. One that stalls of itself does so again.
    let since = format!("video.currentTime - (seen.stalls.at(-1) ?? {start})");
    browser.wait_until(&format!("{since} > 10"));
    browser.picture(&scratch("page-light.png"));
    let behind =
        number(&mut browser, "video.buffered.end(video.buffered.length - 1) - video.currentTime");
    browser.prefer("dark");
    browser.wait_until(&format!("{since} > 20 || seen.stalls.length > {MAX_STALLS}"));
    browser.picture(&scratch("page-dark.png"));
    let stalls = number(&mut browser, "seen.stalls.length") as usize;
    assert!(stalls <= MAX_STALLS, "stalls at {} s", browser.ask("seen.stalls"));
    assert!(behind < GOP_S + BEGIN_S, "{behind} s behind the newest picture");
    assert_eq!(browser.ask("document.getElementById('notice').checkVisibility()"), false);
    assert_eq!(browser.ask("video.videoWidth"), 1280);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
#[ignore = "needs chromium, ffmpeg: cargo ci judges"]
fn the_page_goes_on_when_a_killed_publisher_returns() {
    // Once within the grace period, and once behind the end of the stream.
    for (grace_ms, goes_to) in [(60_000, "away"), (0, "not live")] {
        let server = Server::start(&format!("--set hub.grace_ms={grace_ms}"));
        let mut browser = browse(&server, &format!("returns-{grace_ms}"));
        browser.wait_until("document.body.innerText.includes('Nothing is live')");
        browser.picture(&scratch("page-empty.png"));
        let publisher = publish(&server, OBS, None);
        browser.wait_until("window.video?.currentTime > 2 && !video.paused");
        publisher.kill();
        browser.wait_until(&format!(
            "document.getElementById('notice').innerText.includes('{goes_to}')"
        ));
        browser.picture(&scratch(&format!("page-absent-{grace_ms}.png")));
        let _publisher = publish(&server, OBS, None);
        browser.wait_until("document.getElementById('stage').dataset.mode === 'play'");
        let time = number(&mut browser, "video.currentTime");
        browser.wait_until(&format!("video.currentTime > {time} + 3"));
        assert_eq!(browser.ask("seen.errors"), 0);
    }
}

#[test]
#[ignore = "needs chromium: cargo ci judges"]
fn names_of_streams_are_text() {
    let server = Server::start("--set play.wait_ms=300000");
    // A player that waits for a stream of such a name makes it known.
    let _player = server.ask("/live/%3Cimg%20src=x%20onerror=alert(1)%3E%22'%26amp;.flv");
    let mut browser = browse(&server, "names");
    let name = "live/<img src=x onerror=alert(1)>\\\"'&amp;";
    browser.wait_until(&format!("document.body.innerText.includes(\"{name}\")"));
    assert_eq!(browser.ask("document.images.length"), 0);
    browser.ask("document.querySelector('#streams a').click()");
    browser.wait_until(&format!("document.getElementById('name').innerText.includes(\"{name}\")"));
    assert_eq!(browser.ask("document.images.length"), 0);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    // Even a script that tried could not.
    let tried = "(() => { try { document.body.innerHTML = 'x'; return 'done' } catch (error) { return error.name } })()";
    assert_eq!(browser.ask(tried), "TypeError");
}

#[test]
#[ignore = "needs chromium: cargo ci judges"]
fn the_page_says_what_a_browser_cannot_play() {
    let file = "enh-hevc-aac.flv";
    let server = Server::start(&format!("--replay {} --replay-as {KEY}", testdata(file)));
    server.wait_until_live(KEY);
    let mut browser = browse(&server, "cannot");
    if browser.ask("MediaSource.isTypeSupported('video/mp4; codecs=\"hvc1.1.6.L93.B0\"')") == true {
        return;
    }
    browser.wait_until("document.getElementById('notice').innerText.includes('cannot play')");
    assert_eq!(browser.ask("document.getElementById('notice').innerText.includes('HEVC')"), true);
}

#[test]
#[ignore = "needs chromium: cargo ci judges"]
fn the_page_obeys_the_keyboard() {
    let server = Server::start(&format!("--replay {} --replay-as {KEY}", testdata(OBS)));
    server.wait_until_live(KEY);
    let mut browser = browse(&server, "keyboard");
    browser.wait_until("window.video?.currentTime > 0 && !video.paused");
    browser.press("m");
    browser.wait_until("!video.muted");
    browser.press("k");
    browser.wait_until("video.paused");
    browser.press("k");
    browser.wait_until("!video.paused");
    // Everything that can be clicked can be reached.
    let unreachable =
        "[...document.querySelectorAll('a, button')].filter(e => e.tabIndex < 0).length";
    assert_eq!(browser.ask(unreachable), 0);
}
