//! World: a scenario says what happens in it; the seed fills in what the scenario leaves open.
//!
//! ```
//! use forebay_sim::{Link, Play, Units as _, World};
//!
//! // A phone loses its link in a tunnel; it must come back, and nobody else may notice.
//! let mut world = World::new("tunnel", 7);
//! world.publisher("studio", "obs-360p30-base");
//! world.viewers("sofa", 2, Play::Rtmp).link(Link::fiber());
//! world.viewer("phone", Play::Rtmp).comes(1.s());
//! world.at(4.s()).cut("phone", 2.s());
//! world.run(12.s());
//! assert!(world.log("phone").longest_gap() < 5.s());
//! assert_eq!(world.log("sofa").lag(), 0);
//! ```

mod log;

use std::fmt;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::link::Link;
use crate::plan::{
    Act, Actor, Direction, Leave, Line, Moment, MomentKind, Plan, Play as PlayPlan, Player,
    Publish, Quirk, Receive, Speech, Start, Target, TargetQuirk, When,
};
use crate::program::Program;
use crate::random::{self, Rng};
use crate::report::{self, Outcome};
use crate::run::{self, RunError};
use crate::time::SimTime;

pub use self::log::Log;

/// Durations as they are said.
pub trait Units {
    /// Seconds.
    fn s(self) -> Duration;
    /// Milliseconds.
    fn ms(self) -> Duration;
}

impl Units for u64 {
    fn s(self) -> Duration {
        Duration::from_secs(self)
    }

    fn ms(self) -> Duration {
        Duration::from_millis(self)
    }
}

/// How a viewer plays, as scenarios say it.
pub use crate::plan::Player as Play;

/// A world under construction, then one that was run.
pub struct World {
    plan: Plan,
    outcome: Option<Outcome>,
    /// A campaign goes on behind a violation.
    collects: bool,
    /// What runs on the nodes, if it is not the shipped server.
    program: Option<Program>,
}

/// Unwound with when a scenario need not go on: what it wants to ask is moot.
pub(crate) struct Moot;

/// The node that peers come to where nothing else is said.
pub const NODE: &str = "node";

impl World {
    /// An empty world.
    pub fn new(scenario: &str, seed: u64) -> Self {
        let plan = Plan {
            title: format!("{scenario}, seed {seed}"),
            seed,
            tick: Duration::from_millis(5),
            settings: Vec::new(),
            lines: Vec::new(),
            quiet: None,
            end: SimTime::ZERO,
        };
        Self { plan, outcome: None, collects: false, program: None }
    }

    /// An empty world that does not make violations panics.
    pub(crate) fn of_campaign(scenario: &str, seed: u64) -> Self {
        Self { collects: true, ..Self::new(scenario, seed) }
    }

    /// A server of one's own runs on the nodes, in the place of the shipped one.
    pub fn program(&mut self, program: Program) {
        self.program = Some(program);
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// Random numbers for this purpose.
    pub fn random(&self, purpose: &str) -> Rng {
        random::stream(self.plan.seed, purpose)
    }

    /// The grain of time; 5 ms where nothing is said.
    pub fn tick(&mut self, tick: Duration) {
        self.plan.tick = tick;
    }

    /// A setting of all nodes, as in `play.backlog_ms_max=2000`.
    pub fn set(&mut self, setting: &str) {
        self.plan.settings.push(setting.to_owned());
    }

    /// A publisher of `live/a` with a recording of testdata, which repeats.
    pub fn publisher(&mut self, name: &str, capture: &str) -> PublisherRef<'_> {
        let at = self.random(&format!("{name}/comes")).u64(50..300).ms();
        let publish = Publish {
            key: "live/a".to_owned(),
            capture: capture.to_owned(),
            part: None,
            repeats: true,
            quirks: Vec::new(),
            link: Link::lan(),
            again: None,
            node: NODE.to_owned(),
        };
        PublisherRef(self.add(When::At(SimTime::ZERO + at), name, 1, Act::Publish(publish)))
    }

    /// A viewer of `live/a`.
    pub fn viewer(&mut self, name: &str, player: Player) -> ViewerRef<'_> {
        self.viewers(name, 1, player)
    }

    /// Several viewers of `live/a`, alike.
    pub fn viewers(&mut self, name: &str, count: u32, player: Player) -> ViewerRef<'_> {
        let at = self.random(&format!("{name}/comes")).u64(500..3_000).ms();
        let play = PlayPlan {
            key: "live/a".to_owned(),
            player,
            start: None,
            link: Link::lan(),
            stay: None,
            again: None,
            apart: Duration::ZERO,
            node: NODE.to_owned(),
        };
        ViewerRef(self.add(When::At(SimTime::ZERO + at), name, count, Act::Play(play)))
    }

    /// A server that the node relays all streams to, from the beginning on.
    pub fn target(&mut self, name: &str) -> TargetRef<'_> {
        let target = Target {
            streams: "live/*".to_owned(),
            key: None,
            quirks: Vec::new(),
            link: Link::lan(),
            node: NODE.to_owned(),
        };
        TargetRef(self.add(When::At(SimTime::ZERO), name, 1, Act::Target(target)))
    }

    /// Somebody who does not speak as he should.
    pub fn neighbour(&mut self, name: &str, speech: Speech, comes: Duration) {
        let act = Act::Speak { speech, node: NODE.to_owned() };
        self.add(When::At(SimTime::ZERO + comes), name, 1, act);
    }

    /// What happens then.
    pub fn at(&mut self, time: Duration) -> Then<'_> {
        Then { when: When::At(SimTime::ZERO + time), world: self }
    }

    /// What happens when something has been seen for the `count`th time: a race is a sentence and
    /// not a sleep.
    pub fn when(&mut self, who: &str, event: MomentKind, count: u32) -> Then<'_> {
        let moment = Moment { who: who.to_owned(), event, count };
        Then { when: When::On { moment, delay: Duration::ZERO }, world: self }
    }

    /// From here on no fault begins, and liveness is judged.
    pub fn quiet(&mut self, from: Duration) {
        self.plan.quiet = Some(SimTime::ZERO + from);
    }

    /// Anything: lines that somebody else has made.
    pub fn push(&mut self, line: Line) {
        self.plan.lines.push(line);
    }

    /// Whether somebody publishes this capture.
    pub(crate) fn publishes(&self, capture: &str) -> bool {
        let mut acts = self.plan.lines.iter().map(|line| &line.act);
        acts.any(|act| matches!(act, Act::Publish(publish) if publish.capture == capture))
    }

    pub(crate) fn last_line(&mut self) -> Option<&mut Line> {
        self.plan.lines.last_mut()
    }

    fn add(&mut self, when: When, name: &str, count: u32, act: Act) -> &mut Line {
        let index = self.plan.lines.len();
        self.plan.lines.push(Line { when, who: Actor { name: name.to_owned(), count }, act });
        &mut self.plan.lines[index]
    }

    /// The plan so far.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Carries the plan out for so long, and judges it.
    ///
    /// # Panics
    ///
    /// With a report, if an invariant does not hold or the plan cannot be carried out: what a test
    /// wants. [`Self::outcome`] tells without panicking, for [`Self::try_run`].
    pub fn run(&mut self, time: Duration) {
        let tried = self.try_run(time);
        match (tried, self.outcome.as_ref().filter(|outcome| !outcome.is_fine())) {
            (Err(error), _) if self.collects => resume_unwind(Box::new(error)),
            (Ok(()), Some(_)) if self.collects => resume_unwind(Box::new(Moot)),
            (Err(error), _) => panic!("{error}\n{}", self.plan),
            (Ok(()), Some(outcome)) => report::fail(outcome),
            (Ok(()), None) => {}
        }
    }

    /// As [`run`](Self::run), and leaves it to the caller what a violation means.
    ///
    /// # Errors
    ///
    /// If the plan cannot be carried out.
    pub fn try_run(&mut self, time: Duration) -> Result<(), RunError> {
        self.plan.end = SimTime::ZERO + time;
        self.outcome = Some(report::judge(run::run_with(&self.plan, self.program.as_ref())?));
        Ok(())
    }

    /// What came of it, once it was run.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What came of it.
    pub fn into_outcome(self) -> Option<Outcome> {
        self.outcome
    }

    /// What a peer, or a whole group, saw.
    ///
    /// # Panics
    ///
    /// Before the world was run.
    pub fn log(&self, name: &str) -> Log<'_> {
        let outcome = self.outcome.as_ref().expect("run the world first");
        Log::new(outcome, name)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)
    }
}

/// A publisher's line, to say more about it.
pub struct PublisherRef<'a>(&'a mut Line);

impl PublisherRef<'_> {
    /// Its line so far.
    pub(crate) fn line(&self) -> &Publish {
        match &self.0.act {
            Act::Publish(publish) => publish,
            _ => unreachable!("a publisher's line publishes"),
        }
    }

    fn with(self, f: impl FnOnce(&mut Publish)) -> Self {
        if let Act::Publish(publish) = &mut self.0.act {
            f(publish);
        }
        self
    }

    /// When it comes; the seed says so where nothing is said.
    pub fn comes(self, time: Duration) -> Self {
        self.0.when = When::At(SimTime::ZERO + time);
        self
    }

    /// What it publishes, as `live/b`.
    pub fn key(self, key: &str) -> Self {
        self.with(|publish| publish.key = key.to_owned())
    }

    /// Its way to the node.
    pub fn link(self, link: Link) -> Self {
        self.with(|publish| publish.link = link)
    }

    /// The node it comes to.
    pub fn node(self, node: &str) -> Self {
        self.with(|publish| publish.node = node.to_owned())
    }

    /// How it differs from a good encoder.
    pub fn quirk(self, quirk: Quirk) -> Self {
        self.with(|publish| publish.quirks.push(quirk))
    }

    /// It comes back so long after its connection ended.
    pub fn again(self, pause: Duration) -> Self {
        self.with(|publish| publish.again = Some(pause))
    }

    /// Only this part of the capture, and once.
    pub fn part(self, from: Duration, to: Duration) -> Self {
        let part = Some((SimTime::ZERO + from, SimTime::ZERO + to));
        self.with(|publish| (publish.part, publish.repeats) = (part, false))
    }

    /// The capture once, without starting over.
    pub fn once(self) -> Self {
        self.with(|publish| publish.repeats = false)
    }
}

/// A viewer's line, to say more about it.
pub struct ViewerRef<'a>(&'a mut Line);

impl ViewerRef<'_> {
    fn with(self, f: impl FnOnce(&mut PlayPlan)) -> Self {
        if let Act::Play(play) = &mut self.0.act {
            f(play);
        }
        self
    }

    /// When it comes; the seed says so where nothing is said.
    pub fn comes(self, time: Duration) -> Self {
        self.0.when = When::At(SimTime::ZERO + time);
        self
    }

    /// It comes when something has been seen for the `count`th time, and a little later.
    pub fn comes_when(self, who: &str, event: MomentKind, count: u32, delay: Duration) -> Self {
        let moment = Moment { who: who.to_owned(), event, count };
        self.0.when = When::On { moment, delay };
        self
    }

    /// What it plays, as `live/b`.
    pub fn key(self, key: &str) -> Self {
        self.with(|play| play.key = key.to_owned())
    }

    /// Its way to the node.
    pub fn link(self, link: Link) -> Self {
        self.with(|play| play.link = link)
    }

    /// The node it comes to.
    pub fn node(self, node: &str) -> Self {
        self.with(|play| play.node = node.to_owned())
    }

    /// Where it starts.
    pub fn start(self, start: Start) -> Self {
        self.with(|play| play.start = Some(start))
    }

    /// It leaves after so long.
    pub fn stay(self, time: Duration) -> Self {
        self.with(|play| play.stay = Some(time))
    }

    /// It comes back so long after its connection ended.
    pub fn again(self, pause: Duration) -> Self {
        self.with(|play| play.again = Some(pause))
    }

    /// Members of a group come this far apart.
    pub fn apart(self, pause: Duration) -> Self {
        self.with(|play| play.apart = pause)
    }
}

/// A target's line, to say more about it.
pub struct TargetRef<'a>(&'a mut Line);

impl TargetRef<'_> {
    fn with(self, f: impl FnOnce(&mut Target)) -> Self {
        if let Act::Target(target) = &mut self.0.act {
            f(target);
        }
        self
    }

    /// When it begins to listen.
    pub fn comes(self, time: Duration) -> Self {
        self.0.when = When::At(SimTime::ZERO + time);
        self
    }

    /// Which streams it is sent, as `live/a` or `live/*`.
    pub fn streams(self, streams: &str) -> Self {
        self.with(|target| target.streams = streams.to_owned())
    }

    /// What it wants to be told by whoever publishes.
    pub fn key(self, key: &str) -> Self {
        self.with(|target| target.key = Some(key.to_owned()))
    }

    /// Its way to the node.
    pub fn link(self, link: Link) -> Self {
        self.with(|target| target.link = link)
    }

    /// The node that relays to it.
    pub fn node(self, node: &str) -> Self {
        self.with(|target| target.node = node.to_owned())
    }

    /// How it differs from a good server.
    pub fn quirk(self, quirk: TargetQuirk) -> Self {
        self.with(|target| target.quirks.push(quirk))
    }
}

/// What happens at a moment.
pub struct Then<'a> {
    world: &'a mut World,
    when: When,
}

impl Then<'_> {
    /// A little later than the moment.
    pub fn plus(mut self, more: Duration) -> Self {
        match &mut self.when {
            When::At(at) => *at += more,
            When::On { delay, .. } => *delay += more,
        }
        self
    }

    fn act(&mut self, who: &str, act: Act) {
        let when = self.when.clone();
        self.world.add(when, who, 1, act);
    }

    /// Anything.
    pub fn does(mut self, who: &str, act: Act) {
        self.act(who, act);
    }

    /// Nothing passes for so long, both ways.
    pub fn cut(mut self, who: &str, time: Duration) {
        self.act(who, Act::Cut(Direction::Both, time));
    }

    /// A peer's link is another for so long.
    pub fn link(mut self, who: &str, link: Link, time: Duration) {
        self.act(who, Act::Link(link, Some(time)));
    }

    /// A peer does not read for so long.
    pub fn stop_reading(mut self, who: &str, time: Duration) {
        self.act(who, Act::StopReading(time));
    }

    /// A peer leaves.
    pub fn leave(mut self, who: &str, how: Leave) {
        self.act(who, Act::Leave(how));
    }

    /// A viewer wants less, or more.
    pub fn receive(mut self, who: &str, receive: Receive) {
        self.act(who, Act::Receive(receive));
    }

    /// A publisher is silent for so long, then catches up.
    pub fn stall(mut self, who: &str, time: Duration) {
        self.act(who, Act::Stall(time));
    }

    /// A node's process dies, and starts again after so long.
    pub fn crash(mut self, node: &str, down: Duration) {
        self.act(node, Act::Crash { down: Some(down), silent: false });
    }

    /// A node is told to stop, and starts again so long after it has.
    pub fn stop(mut self, node: &str, down: Duration) {
        self.act(node, Act::Stop(Some(down)));
    }

    /// A node stands still for so long.
    pub fn freeze(mut self, node: &str, time: Duration) {
        self.act(node, Act::Freeze(time));
    }
}
