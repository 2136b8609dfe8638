//! PROPERTIES 1.1: what a publisher sent is what enters the hub.

use std::time::Duration;

use super::cast::rate;
use super::memory::over_bound;
use super::{Finding, Judged, Part, Verdict, first};
use crate::ledger::{Connection, Publication, SentTag, Session, Topic};
use crate::plan::{Act, Line, Quirk, Speech};
use crate::time::SimTime;
use crate::trace::Close;

fn sessions<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = (&'r Topic, &'r Session)> {
    let whole = run.ledger.topics.iter().filter(|topic| !topic.is_partial);
    whole.flat_map(|topic| topic.sessions.iter().map(move |s| (topic, s)))
}

/// I1.
pub(super) fn matches_the_capture(run: &Judged<'_>) -> Verdict {
    // What an intruder publishes is in no capture.
    let intrudes = |line: &Line| matches!(line.act, Act::Speak { speech: Speech::Intruder, .. });
    let is_intruded = run.plan.lines.iter().any(intrudes);
    let known = sessions(run).filter(|(_, session)| session.common > 0 || !is_intruded);
    let changed = known.filter_map(|(topic, session)| {
        let odd = topic.tags[session.places.clone()].get(session.common)?;
        let expected = run.ledger.publication_of(session).and_then(|(_, publication)| {
            publication.sent.get(session.common).map(|sent| sent.tag.to_string())
        });
        let expected = expected.unwrap_or_else(|| "nothing more".to_owned());
        let saw = format!(
            "tag {} of session {} entered as {}, sent was {expected}",
            session.common, session.session, odd.tag
        );
        Some(Finding::new(odd.event, topic.node, "entered otherwise than sent", saw))
    });
    first(changed.chain(lost_tails(run)).chain(turned_out(run)))
}

/// Good publishers to whom nothing was done, and whom their node told that something is wrong, or
/// closed in the middle.
fn turned_out(run: &Judged<'_>) -> impl Iterator<Item = Finding> {
    // The length of a message is what the plan allows it to be.
    let lets_speak = !run.plan.settings.iter().any(|s| s.starts_with("rtmp.message_len_max"));
    let all = run.ledger.connections.iter().filter(move |_| lets_speak);
    all.filter_map(move |connection| {
        let publish = run.cast.publish(connection.who).filter(|p| p.quirks.is_empty())?;
        let accepted = connection.publications.first()?.accepted;
        let error = connection.errors.iter().find(|error| error.0.event > accepted.event);
        let error = error.map(|(told, code, words)| (*told, format!("was told {code}: {words}")));
        let closed = connection.closed.filter(|c| matches!(c.1, Close::Eof | Close::Reset));
        let (told, saw) = error.or(closed.map(|c| (c.0, format!("was closed: {:?}", c.1))))?;
        let wants_it = |c: &Connection| match run.cast.part(c.who) {
            Some(Part::Publisher(other)) => other.key == publish.key,
            Some(Part::Bad(speech, _)) => matches!(speech, Speech::Intruder),
            _ => false,
        };
        let is_alone = run.ledger.connections.iter().all(|other| {
            other.dialed.event == connection.dialed.event
                || other.node != connection.node
                || other.dialed.at > told.at
                || other.over_at() + Duration::from_secs(5) < connection.dialed.at
                || !wants_it(other)
        });
        let sent = connection.publications.iter().flat_map(|p| &p.sent);
        let last = sent.map(|sent| sent.at).take_while(|at| *at <= told.at).last();
        let silence = told.at.since(last.unwrap_or(accepted.at));
        let is_fair = is_alone
            && silence + Duration::from_secs(1) < run.limits.publisher_idle
            && run.is_undisturbed(connection, connection.dialed.at, told.at);
        is_fair.then(|| Finding::new(told.event, connection.who, "turned out", saw))
    })
}

/// What a publisher sent that left in order, and did not enter.
fn lost_tails(run: &Judged<'_>) -> impl Iterator<Item = Finding> {
    let all = (0..).zip(&run.ledger.connections);
    all.filter_map(move |(index, connection)| {
        let last = connection.publications.len().checked_sub(1)?;
        let publication = &connection.publications[last];
        let (closed, Close::Left) = connection.closed? else { return None };
        let by = closed.at + Duration::from_secs(5);
        let alone = run.ledger.publications(connection.node, &publication.key).all(|(c, _)| {
            c.dialed.event == connection.dialed.event
                || c.dialed.at > by
                || c.over_at() + Duration::from_secs(5) < connection.dialed.at
        });
        let mut topics = run.ledger.topics.iter().filter(|t| t.node == connection.node);
        let is_fair = alone
            && topics.all(|topic| topic.key != publication.key || !topic.is_partial)
            && by <= run.end()
            && connection.errors.is_empty()
            && run.is_undisturbed(connection, connection.dialed.at, by);
        let entered: usize = sessions(run)
            .filter(|(_, session)| session.publication == Some((index, last)))
            .map(|(_, session)| session.common)
            .sum();
        let lost = publication.sent.get(entered).filter(|_| is_fair)?;
        let saw = format!(
            "sent {} tags of {} and left in order, {entered} entered",
            publication.sent.len(),
            publication.key
        );
        Some(Finding::new(lost.event, connection.who, "sent and never entered", saw))
    })
}

/// I3.
pub(super) fn timestamps(run: &Judged<'_>) -> Verdict {
    first(sessions(run).filter_map(|(topic, session)| {
        let (_, publication) = run.ledger.publication_of(session)?;
        let entered = topic.tags[session.places.clone()].iter();
        let pairs = entered.zip(&publication.sent).take(session.common);
        // A session that continues a stream has its time shifted so that the viewers' goes on; by
        // how much is found at its first picture or sound.
        let mut shift = (session.session == 1).then_some(0);
        for (entered, sent) in pairs {
            let by = entered.tag.timestamp_ms.wrapping_sub(sent.tag.timestamp_ms);
            let is_media = entered.tag.role.is_picture() || is_sound(&entered.tag);
            if is_media && shift.is_none() {
                shift = Some(by);
            }
            if shift.is_some_and(|shift| shift != by) {
                let saw = format!(
                    "session {}: sent at {} ms, entered at {} ms, shifted by {}",
                    session.session,
                    sent.tag.timestamp_ms,
                    entered.tag.timestamp_ms,
                    shift.unwrap_or_default()
                );
                return Some(Finding::new(entered.event, topic.node, "wrong timestamp", saw));
            }
        }
        None
    }))
}

fn is_sound(tag: &crate::tag::TagSeen) -> bool {
    tag.role == crate::tag::Role::Sound
}

/// I7.
pub(super) fn parser_memory(run: &Judged<'_>) -> Verdict {
    over_bound(run, "connection_")
}

/// I8.
pub(super) fn half_open(run: &Judged<'_>) -> Verdict {
    let limits = &run.limits;
    let allowed = limits.handshake + limits.setup + limits.play_wait + 2 * limits.linger;
    first(run.ledger.connections.iter().filter_map(|connection| {
        let connected = connection.connected?;
        let errors = connection.errors.iter().map(|(told, ..)| *told);
        let over = errors.chain(connection.ends.iter().copied()).max_by_key(|told| told.event);
        let streams = connection.publications.iter().map(|publication| publication.accepted);
        let streams = streams.chain(connection.playing.as_ref().map(|(told, _)| *told));
        let newest = streams.max_by_key(|told| told.event);
        let since = match (newest, over) {
            (None, None) => connected,
            (_, Some(over)) if newest.is_none_or(|newest| newest.event < over.event) => over,
            _ => return None,
        };
        let by = since.at + allowed;
        let asks =
            matches!(run.cast.part(connection.who), Some(Part::Bad(Speech::PlaysNothing, _)));
        let is_fair = !asks && by < run.end() && run.is_undisturbed(connection, since.at, by);
        (is_fair && connection.over_at() > by).then(|| {
            let saw = format!("neither publishes nor plays since {}, and is still there", since.at);
            Finding::new(since.event, connection.who, "half open", saw)
        })
    }))
}

/// I9.
pub(super) fn acknowledgements(run: &Judged<'_>) -> Verdict {
    first(run.ledger.connections.iter().filter_map(|connection| {
        let publish = run.cast.publish(connection.who)?;
        let window = |quirk: &Quirk| matches!(quirk, Quirk::Window(_));
        publish.quirks.iter().find(|quirk| window(quirk))?;
        let held = |quirk: &Quirk| if let Quirk::Bursts(ms) = quirk { *ms } else { 0 };
        let held = publish.quirks.iter().map(held).max().unwrap_or(0);
        let allowed = run.limits.acknowledgement + Duration::from_millis(u64::from(held));
        // Whoever was told an error has no reason to go on.
        let until = connection.over_at().min(run.end());
        let last = connection.publications.last().filter(|_| connection.errors.is_empty());
        let last = last.and_then(|p| last_stall(p, until, allowed));
        let stalls = connection.publications.iter().flat_map(|p| stalls(p, allowed));
        stalls.chain(last).find_map(|(sent, next, waited)| {
            // Who was never told that its node died sends until it has to wait.
            let is_fair = run.is_undisturbed(connection, sent.at, next)
                && run.ledger.is_up(connection.node, connection.dialed.at, next)
                && has_room(run, connection, publish);
            let saw =
                format!("sent nothing for {:.3} s longer than it should", waited.as_secs_f64());
            is_fair.then(|| Finding::new(sent.event, connection.who, "publisher waits", saw))
        })
    }))
}

/// The tag behind which nothing came, until when, and how much longer than it should.
type Stall<'p> = (&'p SentTag, SimTime, Duration);

fn stalls(publication: &Publication, allowed: Duration) -> impl Iterator<Item = Stall<'_>> {
    publication.sent.windows(2).filter_map(move |pair| {
        let (a, b) = (&pair[0], &pair[1]);
        let waited = b.at.since(a.at).saturating_sub(due(pair));
        (waited > allowed).then_some((a, b.at, waited))
    })
}

/// A wait that did not end while somebody looked, beyond the longest that was due before.
fn last_stall(publication: &Publication, until: SimTime, allowed: Duration) -> Option<Stall<'_>> {
    let longest = publication.sent.windows(2).map(due).max()?;
    let last = publication.sent.last()?;
    let waited = until.since(last.at).saturating_sub(longest);
    (waited > allowed).then_some((last, until, waited))
}

/// How long after the first of two tags the second is sent, by their times.
fn due(pair: &[SentTag]) -> Duration {
    let step = pair[1].tag.timestamp_ms.wrapping_sub(pair[0].tag.timestamp_ms);
    Duration::from_millis(u64::from(if step < 60_000 { step } else { 0 }))
}

/// Whether the way up carries three times what is sent on average.
fn has_room(run: &Judged<'_>, connection: &Connection, publish: &crate::plan::Publish) -> bool {
    let sent = connection.publications.iter().flat_map(|p| &p.sent);
    let bits: u64 = sent.map(|sent| u64::from(sent.tag.len) * 8).sum();
    let until = connection.over_at().min(run.end());
    let lasted = until.since(connection.dialed.at).as_secs_f64().max(1.0);
    rate(&publish.link, &publish.link.up) as f64 > 3.0 * bits as f64 / lasted
}

/// I10.
pub(super) fn refused_publish(run: &Judged<'_>) -> Verdict {
    first(foreign_tags(run).chain(uninvited(run)).chain(disturbed(run)))
}

/// Owners of a name that had to leave it to somebody else, where that cannot be.
fn disturbed(run: &Judged<'_>) -> impl Iterator<Item = Finding> {
    let all = run.ledger.connections.iter().filter(|_| !run.limits.takeover);
    all.filter_map(|connection| {
        let publish = run.cast.publish(connection.who)?;
        let accepted = connection.publications.first()?.accepted;
        // Who asks for a name again and again may find it taken.
        let asks_once = !publish.quirks.iter().any(|quirk| matches!(quirk, Quirk::Republishes(_)));
        let mut told = connection.errors.iter().filter(|error| error.0.event > accepted.event);
        let (told, code, words) = told.find(|(_, code, _)| code.ends_with(".BadName"))?;
        let saw = format!("was told {code} while it published {}: {words}", publish.key);
        asks_once.then(|| Finding::new(told.event, connection.who, "owner disturbed", saw))
    })
}

/// Tags that somebody sent who was not allowed to, and that entered.
fn foreign_tags(run: &Judged<'_>) -> impl Iterator<Item = Finding> {
    run.ledger.connections.iter().filter_map(|connection| {
        connection.stray.iter().find_map(|stray| {
            // I1 has looked at what a publication can account for.
            let entered = sessions(run)
                .filter(|(topic, _)| topic.node == connection.node)
                .filter_map(|(topic, session)| {
                    let unexplained = &topic.tags[session.places.clone()][session.common..];
                    unexplained.iter().find(|tag| {
                        tag.tag.digest == stray.tag.digest && tag.tag.len == stray.tag.len
                    })
                })
                .next()?;
            let saw = format!("sent {} without being a publisher, and it entered", stray.tag);
            Some(Finding::new(entered.event, connection.who, "refused and entered", saw))
        })
    })
}

/// Second publishers of a name where the first is to be left alone.
fn uninvited(run: &Judged<'_>) -> impl Iterator<Item = Finding> {
    let all = run.ledger.connections.iter().filter(|_| !run.limits.takeover);
    all.flat_map(|connection| connection.publications.iter().map(move |p| (connection, p)))
        .filter_map(move |(connection, publication)| {
            let at = publication.accepted.at;
            let mut others = run.ledger.publications(connection.node, &publication.key);
            let (owner, _) = others.find(|(other, theirs)| {
                let is_running = other.dialed.event != connection.dialed.event
                    && theirs.accepted.at < connection.dialed.at
                    && other.over_at() > at + Duration::from_secs(1)
                    && other.errors.is_empty();
                let sends = theirs.sent.iter().any(|sent| sent.at >= at);
                is_running && sends && run.is_undisturbed(other, theirs.accepted.at, at)
            })?;
            let saw = format!("publishes {}, which {} does", publication.key, run.name(owner.who));
            Some(Finding::new(publication.accepted.event, connection.who, "not refused", saw))
        })
}

/// I11.
pub(super) fn silent_publisher(run: &Judged<'_>) -> Verdict {
    let limits = &run.limits;
    let allowed = limits.publisher_idle + limits.grace + limits.linger + limits.end;
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let joined = run.told_to_play(connection);
        let silences = topic.tags.iter().enumerate().filter_map(|(index, tag)| {
            let next = topic.tags.get(index + 1).map_or(run.end(), |next| next.at);
            let since = tag.at.max(joined);
            (since + allowed < next).then_some((tag, since))
        });
        let mut ignored = silences.filter(|(_, since)| {
            let by = *since + allowed;
            !connection.is_told_by(by) && run.is_undisturbed(connection, *since, by)
        });
        let (tag, since) = ignored.next()?;
        let saw = format!("nothing of {} came since {since}, and it was not told", topic.key);
        Some(Finding::new(tag.event, connection.who, "silent publisher", saw))
    }))
}
