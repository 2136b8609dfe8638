//! The page of a run: well formed, escaped, bounded, always the same, and it says what broke.

use forebay_sim::invariant::Violation;
use forebay_sim::report::Outcome;
use forebay_sim::time::SimTime;
use forebay_sim::timeline::{self, LEN_MAX};
use forebay_sim::trace::{HlsSeen, LagCause, Resource, What};
use forebay_sim::{Play, Units as _, World, scenario};

/// What a 20 s world of a few viewers may take.
const USUAL_LEN_MAX: usize = 500_000;

const NASTY: &str = "</title><script>alert(\"&'\u{0}\u{202e}]]>\")</script>";

fn smoke(seed: u64) -> Outcome {
    scenario::find("smoke").expect("is in the list").play(seed).expect("can be carried out")
}

/// A phone in a tunnel.
fn tunnel() -> Outcome {
    let mut world = World::new("tunnel", 7);
    world.publisher("studio", "obs-360p30-base");
    world.viewers("sofa", 5, Play::Rtmp);
    world.viewer("phone", Play::Rtmp).comes(1.s());
    world.at(4.s()).cut("phone", 2.s());
    world.try_run(20.s()).expect("can be carried out");
    world.into_outcome().expect("was run")
}

fn accuse(outcome: &mut Outcome, name: &str, at: SimTime, saw: &str) {
    let who = outcome.run.trace.who(name);
    let event = outcome.run.trace.events.partition_point(|event| event.at < at);
    let (invariant, kind) = ("reference_chain_is_complete", "inter frame".to_owned());
    let violation = Violation { invariant, at, event, who, saw: saw.to_owned(), kind };
    outcome.violations.insert(0, violation);
}

/// Whether every element is closed where it should be, and nothing else looks like one.
fn check_form(page: &str) {
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("begins as HTML does");
    let mut open: Vec<&str> = Vec::new();
    while let Some(start) = rest.find('<') {
        check_entities(&rest[..start]);
        rest = &rest[start..];
        if open.last() == Some(&"script") && !rest.starts_with("</script>") {
            rest = &rest[rest.find("//]]></script>").expect("scripts end") + "//]]>".len()..];
            continue;
        }
        let end = rest.find('>').expect("a tag ends");
        let (tag, after) = (&rest[1..end], &rest[end + 1..]);
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        assert!(name.chars().all(|char| char.is_ascii_alphanumeric()), "no element: <{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed: <{tag}>");
        } else {
            assert!(tag.matches('"').count() % 2 == 0, "quotes: <{tag}>");
            check_entities(tag);
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = after;
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    let allowed = |char: char| char == '\n' || char == '\t' || !char.is_control();
    assert!(page.chars().all(allowed), "a control character");
}

fn check_entities(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        let is_known = known.iter().any(|entity| text[at..].starts_with(entity));
        // Style sheets have none, and `&` of other kinds ends a document for an XML parser.
        assert!(is_known, "not an entity: {}", &text[at..text.len().min(at + 20)]);
    }
}

#[test]
fn page_is_well_formed_and_needs_no_network() {
    for name in ["smoke", "publisher_returns", "bad_neighbours"] {
        let outcome = scenario::find(name).expect("is in the list").play(3);
        let page = timeline::page(&outcome.expect("can be carried out"));
        check_form(&page);
        let addresses = page.matches("://").count();
        assert_eq!(addresses, page.matches("http://www.w3.org/2000/svg").count(), "{name}");
    }
}

#[test]
fn what_a_trace_or_a_plan_says_is_escaped() {
    let mut outcome = smoke(1);
    NASTY.clone_into(&mut outcome.run.plan.title);
    let trace = &mut outcome.run.trace;
    let viewer = trace.who("rtmp");
    let at = SimTime::from_millis(2_000);
    let place = trace.events.partition_point(|event| event.at < at);
    let mut event = trace.events[place].clone();
    event.who = viewer;
    event.what = What::ToldError { code: NASTY.into(), words: NASTY.into() };
    trace.events.insert(place, event.clone());
    event.what = What::FaultBegins { family: "N10", line: NASTY.into() };
    trace.events.insert(place, event);
    trace.names.iter_mut().skip(1).for_each(|name| name.push_str(NASTY));
    let name = outcome.run.trace.name(viewer).to_owned();
    accuse(&mut outcome, &name, at, NASTY);
    let page = timeline::page(&outcome);
    check_form(&page);
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(!page.contains("alert(\"") && page.contains("alert(&quot;"));
}

/// Segments that it has, and those that are gone, are bars with their names.
#[test]
fn page_shows_what_a_player_of_hls_fetched() {
    let scenario = scenario::find("hls_restart").expect("is in the list");
    let outcome = scenario.play(1).expect("can be carried out");
    let page = timeline::page(&outcome);
    check_form(&page);
    let trace = &outcome.run.trace;
    let segments = trace.events.iter().filter_map(|event| match &event.what {
        What::Hls(HlsSeen::Fetched(it)) if matches!(it.what, Resource::Segment(_)) => Some(it),
        _ => None,
    });
    let (had, missed): (Vec<_>, Vec<_>) = segments.partition(|segment| segment.status == 200);
    assert!(!missed.is_empty(), "a node that died has nothing of what it said before");
    for (class, segments) in [("fetch", had), ("fetch missed", missed)] {
        let bars = page.split("<rect ").filter(|it| it.starts_with(&format!("class=\"{class}\"")));
        let bars: Vec<_> = bars.collect();
        for segment in segments {
            let name = format!("{}: {}", segment.uri, segment.status);
            assert!(bars.iter().any(|bar| bar.contains(&name)), "{class}: {name}");
        }
    }
}

#[test]
fn page_of_a_usual_world_is_small() {
    let len = timeline::page(&tunnel()).len();
    assert!(len <= USUAL_LEN_MAX, "{len} bytes");
}

#[test]
fn page_of_an_absurd_world_is_thinned_out_and_says_so() {
    let mut outcome = smoke(1);
    let trace = &mut outcome.run.trace;
    let mut events = trace.events.clone();
    for peer in 0..200 {
        // Of so different names that they are no group.
        let letters: String =
            format!("{peer:03}").chars().map(|c| (b'a' + c as u8 - b'0') as char).collect();
        let who = trace.who(&format!("{letters}\"\"\""));
        let viewer = trace.events.iter().find(|event| matches!(event.what, What::Dialed { .. }));
        let mut dialed = viewer.expect("somebody dialed").clone();
        dialed.who = who;
        let at = dialed.at;
        events.push(dialed.clone());
        for lag in 0..2_000 {
            dialed.at = at + (lag / 2).ms();
            let (cause, tags, bytes) = (LagCause::Overflow, lag + 1, lag * 100);
            dialed.what = What::Lag { from: "nobody".into(), cause, tags, bytes };
            events.push(dialed.clone());
        }
    }
    events.sort_by_key(|event| event.at);
    trace.events = events;
    let page = timeline::page(&outcome);
    assert!(page.len() <= LEN_MAX, "{} bytes", page.len());
    assert!(page.contains("Thinned out: "), "without a word");
    check_form(&page);
}

#[test]
fn two_runs_of_a_seed_give_the_same_page() {
    assert!(timeline::page(&smoke(5)) == timeline::page(&smoke(5)), "pages differ");
}

#[test]
fn page_says_what_broke_when_and_to_whom_and_what_was_done_before() {
    let mut outcome = tunnel();
    let saw = "phone: inter frame after a lag of 37 tags";
    accuse(&mut outcome, "phone", SimTime::from_millis(12_480), saw);
    let page = timeline::page(&outcome);
    for words in [
        "✕ G2 reference_chain_is_complete does not hold",
        "✕ G2 broken at 12.480 s",
        saw,
        "a picture whose reference is missing spoils all until the next keyframe",
        "N10 cut for 2.000",
        "phone fault N10 begins: cut for 2.000",
        "Around the violation: phone",
        "cargo sim replay FILE",
        "tunnel, seed 7",
    ] {
        assert!(page.contains(words), "{words:?} is missing");
    }
    assert!(timeline::page(&tunnel()).contains("every invariant holds"));
}
