//! How fast viewers get what they get, and how they learn that it is over.

use std::time::Duration;

use crate::invariant::cast::{is_clean, rate, round_trip, way};
use crate::invariant::{Finding, Judged, Verdict, first};
use crate::ledger::{Connection, Topic};
use crate::link::{Link, Path};
use crate::plan::{Act, Start, When};
use crate::tag::Role;
use crate::time::SimTime;

/// H10.
pub(in crate::invariant) fn end(run: &Judged<'_>) -> Verdict {
    let again = run.ledger.connections.iter().filter_map(|connection| {
        let second = connection.ends.get(1)?;
        let saw = format!("was told the end again, {} tags later", second.place);
        Some(Finding::new(second.event, connection.who, "two ends", saw))
    });
    let after = run.ledger.connections.iter().filter_map(|connection| {
        let end = connection.ends.first()?;
        let replayed = connection.playing.as_ref().is_some_and(|(told, _)| told.event > end.event);
        let got = connection.got.get(end.place as usize).filter(|_| !replayed)?;
        let saw = format!("got {} after the end", got.tag);
        Some(Finding::new(got.event, connection.who, "tag after the end", saw))
    });
    let never = run.ledger.viewers().filter_map(|(connection, topic)| {
        let over = topic.overs.iter().find(|over| over.at >= run.told_to_play(connection))?;
        // What it has not got yet comes first.
        let by = over.at + run.limits.end + Duration::from_millis(run.limits.backlog_ms);
        let is_fair = by < run.end()
            && run.is_healthy(connection)
            && run.is_undisturbed(connection, connection.dialed.at, by);
        let saw = format!("{} was over at {}, and it was not told", topic.key, over.at);
        (is_fair && !connection.is_told_by(by))
            .then(|| Finding::new(over.event, connection.who, "no end", saw))
    });
    let early = run.ledger.viewers().filter_map(|(connection, topic)| {
        let end = connection.ends.first()?;
        let goes_on = topic.tags.get(topic.entered_by(end.at));
        let is_over = topic.overs.iter().any(|over| over.at <= end.at + run.limits.unseen());
        // A player that is let go over HTTP sees its body end, and nothing else.
        let has_lost = connection.account.is_some_and(|(.., account)| account.lag > 0);
        let is_let_go = run.limits.disconnects && has_lost;
        let is_fair = run.is_undisturbed(connection, connection.dialed.at, end.at) && !is_let_go;
        let saw = format!("was told the end of {}, which goes on", topic.key);
        (is_fair && goes_on.is_some() && !is_over)
            .then(|| Finding::new(end.event, connection.who, "end of what goes on", saw))
    });
    first(again.chain(after).chain(never).chain(early))
}

/// H11.
pub(in crate::invariant) fn stuck_viewer(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let link = &run.cast.play(connection.who)?.link;
        // The kernel's buffers on both sides take this before a write fails.
        let room = link.window + link.down.queue + run.limits.unsent_bytes + (2 << 20);
        connection.deaf.iter().find_map(|(since, until)| {
            let since = (*since).max(run.told_to_play(connection));
            let start = topic.sums_before(topic.entered_by(since)).bytes;
            let full = topic.tags.partition_point(|tag| tag.sums().bytes < start + room);
            let by = topic.tags.get(full)?.at.max(since)
                + run.limits.write_stall
                + run.limits.linger
                + Duration::from_secs(1);
            let is_fair = by < run.end().min(*until)
                && run.ledger.is_up(connection.node, since, by)
                && !run.cast.is_touched(connection.node, since, by);
            let released = connection.account.map_or(SimTime::MAX, |(at, ..)| at);
            let saw = format!("reads nothing since {since}, and its node holds on to it");
            (is_fair && released.min(connection.over_at()) > by)
                .then(|| Finding::new(connection.dialed.event, connection.who, "stuck", saw))
        })
    }))
}

/// H14: for the windows in which all viewers of a node are equal and ask for more than it may send.
pub(in crate::invariant) fn saturation(run: &Judged<'_>) -> Verdict {
    let egress = run.plan.lines.iter().filter_map(|line| match (&line.act, &line.when) {
        (Act::Egress(bits, lasts), When::At(at)) => {
            let end = lasts.map_or(run.end(), |lasts| *at + lasts).min(run.end());
            Some((&line.who.name, *bits, *at + Duration::from_secs(5), end))
        }
        _ => None,
    });
    first(egress.filter_map(|(node, bits, from, end)| {
        let mut from = from;
        while from + WINDOW <= end {
            if let Some(finding) = unfair_window(run, node, bits, from) {
                return Some(finding);
            }
            from += WINDOW;
        }
        None
    }))
}

const WINDOW: Duration = Duration::from_secs(10);

/// TCP's first time-out; each of the next is twice as long.
const RETRANSMISSION: Duration = Duration::from_millis(200);

fn unfair_window(run: &Judged<'_>, node: &str, bits: u64, from: SimTime) -> Option<Finding> {
    let to = from + WINDOW;
    let here = |c: &&Connection| {
        run.name(c.node) == node && c.dialed.at < to && c.over_at() > from && !c.got.is_empty()
    };
    let viewers: Vec<_> = run.ledger.connections.iter().filter(here).collect();
    let first = viewers.first()?;
    let play = run.cast.play(first.who)?;
    let topic = run.ledger.topic_of(first).filter(|topic| !topic.is_partial)?;
    let equal = viewers.len() >= 4
        && viewers.iter().all(|c| {
            let same = run.cast.play(c.who).is_some_and(|p| {
                p.link == play.link && p.key == play.key && p.player == play.player
            });
            let is_there = run.told_to_play(c) + Duration::from_secs(5) < from && c.over_at() > to;
            let touched = run.cast.is_touched(c.who, c.dialed.at, to) || !c.deaf.is_empty();
            same && is_there && !touched && run.link_suffices(c)
        });
    let (start, end) = (topic.entered_by(from), topic.entered_by(to));
    let asked = topic.sums_before(end).bytes - topic.sums_before(start).bytes;
    let capacity = bits as f64 / 8.0 * WINDOW.as_secs_f64();
    let is_saturated = asked as f64 * viewers.len() as f64 > 1.1 * capacity;
    if !equal || !is_saturated || !run.ledger.is_up(first.node, from, to) {
        return None;
    }
    let mut sum = 0.0;
    let fair = capacity / viewers.len() as f64;
    let mut worst: Option<(f64, &Connection)> = None;
    for viewer in viewers {
        let got = viewer.got.iter().filter(|got| got.at > from && got.at <= to);
        let share: f64 = got.map(|got| f64::from(got.tag.len) + 12.0).sum();
        sum += share;
        if worst.is_none_or(|(w, _)| (share / fair - 1.0).abs() > (w / fair - 1.0).abs()) {
            worst = Some((share, viewer));
        }
    }
    let (share, viewer) = worst?;
    let event = run.trace.events.partition_point(|event| event.at <= to).saturating_sub(1);
    if !(0.8..=1.2).contains(&(share / fair)) {
        let saw = format!("got {share:.0} bytes in 10 s, its share is {fair:.0}");
        return Some(Finding::new(event, viewer.who, "unfair share", saw));
    }
    (sum < 0.9 * capacity).then(|| {
        let saw = format!("sent {sum:.0} bytes in 10 s, could send {capacity:.0}");
        Finding::new(event, viewer.node, "idle at saturation", saw)
    })
}

/// H15.
pub(in crate::invariant) fn lag_heals(run: &Judged<'_>) -> Verdict {
    let quiet = run.quiet()?;
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let play = run.cast.play(connection.who)?;
        let last = connection.slow_lags().filter(|lost| lost.at <= quiet).last()?;
        let gop_ms = topic.gop_ms_max();
        // Queues on the way have to drain first, and what a cut held up waits for its next try.
        let outage = run.cast.longest_outage(connection.who);
        let next_try = if outage.is_zero() { outage } else { outage + RETRANSMISSION };
        let drain = Duration::from_millis(run.limits.backlog_ms) + next_try;
        let by = quiet + Duration::from_millis(2 * gop_ms) + drain;
        let healed = !run.cast.is_touched(connection.who, quiet + drain, by)
            && !run.cast.is_touched(connection.node, quiet + drain, by)
            && run.ledger.is_up(connection.node, connection.dialed.at, by);
        let goes_on = topic.last_at() > by && !connection.is_told_by(by) && by < run.end();
        let is_fair = healed && goes_on && run.link_suffices(connection);
        let newest = topic.entered_by(by - way(&play.link.down)).checked_sub(1)?;
        let got = connection.places().take_while(|(_, got)| got.at <= by).last();
        let has = got.map_or(0, |(place, _)| topic.tags[place as usize].clock_ms);
        let behind = topic.tags[newest].clock_ms.saturating_sub(has);
        let saw = format!("lagged at {}, and is {behind} ms behind at {by}", last.at);
        let bound = gop_ms + run.limits.live_edge_ms;
        (is_fair && behind > bound)
            .then(|| Finding::new(last.event, connection.who, "does not heal", saw))
    }))
}

/// H16.
pub(in crate::invariant) fn first_picture(run: &Judged<'_>) -> Verdict {
    first(run.ledger.viewers().filter_map(|(connection, topic)| {
        let play = run.cast.play(connection.who)?;
        let (dialed, connected) = (connection.dialed.at, connection.connected?.at);
        let keyframe = run.cached_keyframe(topic, connected)?;
        if !run.starts_with_gop(connection) {
            return None;
        }
        let joined = topic.entered_by(run.told_to_play(connection) + run.limits.unseen());
        run.cached_keyframe(topic, run.told_to_play(connection))?;
        let session = |place: usize| topic.tags.get(place).map(|tag| tag.session);
        // It asked for one stream and was given another; or a header made the GOP useless.
        let meanwhile = topic.tags.get(keyframe..joined)?;
        if session(keyframe) != session(joined.saturating_sub(1))
            || meanwhile.iter().any(|tag| tag.tag.role == Role::Header)
        {
            return None;
        }
        let bytes = topic.sums_before(joined).bytes - topic.tags[keyframe].before.bytes;
        let rate = rate(&play.link, &play.link.down).max(1);
        let transfer = Duration::from_secs_f64((bytes + 8_192) as f64 * 8.0 / rate as f64);
        // Every way ends with the next tick.
        let ticks = 12 * run.limits.tick;
        let by = dialed + 6 * round_trip(&play.link) + transfer + run.limits.start_slack + ticks;
        let shown = connection.got.iter().find(|got| got.tag.role == Role::Keyframe);
        let at = shown.map_or(SimTime::MAX, |got| got.at);
        let is_fair = run.is_undisturbed(connection, dialed, by)
            && run.link_suffices(connection)
            && !run.cast.is_choosy(connection.who)
            && by < run.end().min(connection.over_at());
        (is_fair && at > by).then(|| {
            let waited = at.min(run.end()).since(dialed).as_secs_f64();
            let bound = by.since(dialed).as_secs_f64();
            let saw = format!("first keyframe after {waited:.3} s, may take {bound:.3}");
            Finding::new(connection.dialed.event, connection.who, "picture comes late", saw)
        })
    }))
}

/// A path as a fluid: what is sent waits for what was sent before.
struct Fluid {
    bits: f64,
    way: Duration,
    busy_until: SimTime,
}

impl Fluid {
    fn new(link: &Link, path: &Path, busy_until: SimTime) -> Self {
        Self { bits: rate(link, path) as f64, way: way(path), busy_until }
    }

    /// When so many payload bytes have arrived.
    fn carry(&mut self, sent: SimTime, len: u32) -> SimTime {
        // A tenth and a few bytes for headers of all layers.
        let bits = (f64::from(len) * 1.1 + 100.0) * 8.0;
        self.busy_until = self.busy_until.max(sent) + Duration::from_secs_f64(bits / self.bits);
        self.busy_until + self.way
    }
}

/// H17.
pub(in crate::invariant) fn live_delay(run: &Judged<'_>) -> Verdict {
    let healthy = run.ledger.viewers().filter(|(connection, _)| run.is_healthy(connection));
    first(healthy.filter_map(|(connection, topic)| late_tag(run, connection, topic)))
}

fn late_tag(run: &Judged<'_>, connection: &Connection, topic: &Topic) -> Option<Finding> {
    let play = run.cast.play(connection.who)?;
    if run.cast.is_choosy(connection.who) || play.start == Some(Start::Auto) {
        return None;
    }
    let joined = run.told_to_play(connection);
    let allowed = run.limits.coalesce + run.limits.hub + 2 * run.limits.tick;
    let mut down = Fluid::new(&play.link, &play.link.down, joined);
    let mut places = connection.places().peekable();
    for session in &topic.sessions {
        let Some((publisher, publication)) = run.ledger.publication_of(session) else { continue };
        let Some(publish) = run.cast.publish(publisher.who) else { continue };
        let alone = run.ledger.publications(topic.node, &topic.key).count() == 1;
        let until = publisher.over_at().min(run.end());
        let is_fair = alone
            && is_clean(&publish.link.up)
            && run.is_undisturbed(publisher, publisher.dialed.at, until);
        if !is_fair || session.common < session.places.len() {
            continue;
        }
        let mut up = Fluid::new(&publish.link, &publish.link.up, SimTime::ZERO);
        for (index, sent) in publication.sent.iter().enumerate().take(session.common) {
            let entered = up.carry(sent.at, sent.tag.len) + allowed;
            let place = (session.places.start + index) as u32;
            while places.next_if(|(got, _)| *got < place).is_some() {}
            let Some((_, got)) = places.next_if(|(got, _)| *got == place) else { continue };
            let by = down.carry(entered.max(joined), got.tag.len) + run.limits.start_slack;
            if got.at > by {
                let saw = format!(
                    "got {} {:.3} s after it was sent, may take {:.3}",
                    got.tag,
                    got.at.since(sent.at).as_secs_f64(),
                    by.since(sent.at).as_secs_f64()
                );
                return Some(Finding::new(got.event, connection.who, "late", saw));
            }
        }
    }
    None
}
