//! Agenda: what is to be done when, and what waits for something to happen first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::plan::{Moment, MomentKind, Plan, When};
use crate::recorder::Recorder;
use crate::tag::Role;
use crate::time::SimTime;
use crate::trace::{DiskOutcome, DiskSeen, RelaySeen, What, Who};

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Do {
    /// A line of the plan.
    Line(usize),
    /// A member of the group that a line introduces; the first is 1.
    Member(usize, u32),
    /// The fault of a line is over.
    EndFault(usize),
    /// A node starts again.
    Return(String),
}

/// Lines of a plan by when they are due.
pub(crate) struct Agenda {
    due: BinaryHeap<Reverse<(SimTime, u64, Do)>>,
    added: u64,
    waiting: Vec<Waiting>,
    /// Events looked at.
    seen: usize,
    /// Who has not had a picture since it came or lagged.
    without_picture: BTreeMap<Who, bool>,
}

struct Waiting {
    line: usize,
    moment: Moment,
    delay: Duration,
    left: u32,
}

impl Agenda {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut agenda = Self {
            due: BinaryHeap::new(),
            added: 0,
            waiting: Vec::new(),
            seen: 0,
            without_picture: BTreeMap::new(),
        };
        for (index, line) in plan.lines.iter().enumerate() {
            match &line.when {
                When::At(at) => agenda.add(*at, Do::Line(index)),
                When::On { moment, delay } => agenda.waiting.push(Waiting {
                    line: index,
                    left: moment.count.max(1),
                    moment: moment.clone(),
                    delay: *delay,
                }),
            }
        }
        agenda
    }

    pub(crate) fn add(&mut self, at: SimTime, what: Do) {
        self.due.push(Reverse((at, self.added, what)));
        self.added += 1;
    }

    pub(crate) fn take_due(&mut self, now: SimTime) -> Option<Do> {
        let is_due = self.due.peek().is_some_and(|Reverse((at, ..))| *at <= now);
        is_due.then(|| self.due.pop()).flatten().map(|Reverse((_, _, what))| what)
    }

    /// Looks at what has happened since the last time, for those who wait for it.
    pub(crate) fn look(&mut self, recorder: &Recorder, now: SimTime) {
        if self.waiting.is_empty() {
            return;
        }
        let mut happened: Vec<(Who, MomentKind)> = Vec::new();
        let without_picture = &mut self.without_picture;
        recorder.each_since(self.seen, |index, event| {
            self.seen = index + 1;
            let who = event.who;
            let mut add = |kind| happened.push((who, kind));
            match &event.what {
                What::Connected => add(MomentKind::Connected),
                What::Publishing { .. } => add(MomentKind::Publishing),
                What::Playing { .. } => {
                    without_picture.insert(who, true);
                    add(MomentKind::Playing);
                }
                What::Relay(RelaySeen::Accepted { .. }) => add(MomentKind::Connected),
                What::Relay(RelaySeen::Publishing { .. }) => add(MomentKind::Publishing),
                What::Relay(RelaySeen::Over { .. }) => add(MomentKind::Closed),
                What::Sent(tag) | What::Relay(RelaySeen::Got { tag, .. }) => {
                    add(MomentKind::Tag);
                    match tag.role {
                        Role::Keyframe => add(MomentKind::Keyframe),
                        Role::Header => add(MomentKind::Header),
                        _ => {}
                    }
                }
                What::Got(tag)
                    if tag.role.is_picture()
                        && without_picture.insert(who, false) == Some(true) =>
                {
                    add(MomentKind::Picture);
                }
                What::Lag { .. } => {
                    without_picture.insert(who, true);
                    add(MomentKind::Lag);
                }
                What::Closed(_) => add(MomentKind::Closed),
                What::Started => add(MomentKind::Started),
                What::Crashed | What::Stopped { .. } => add(MomentKind::Down),
                What::Disk(DiskSeen { outcome: DiskOutcome::Begun, .. }) => add(MomentKind::Disk),
                _ => {}
            }
        });
        for (who, kind) in happened {
            let name = recorder.name(who);
            for waiting in &mut self.waiting {
                let is_it = waiting.moment.event == kind && is_of(&name, &waiting.moment.who);
                waiting.left -= u32::from(is_it && waiting.left > 0);
            }
            let come: Vec<_> = self.waiting.extract_if(.., |waiting| waiting.left == 0).collect();
            for waiting in come {
                self.add(now + waiting.delay, Do::Line(waiting.line));
            }
        }
    }
}

/// Whether `name` is this actor, or a member of the group of this name.
pub(crate) fn is_of(name: &str, actor: &str) -> bool {
    name == actor
        || name.strip_prefix(actor).and_then(|rest| rest.strip_prefix('-')).is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}
