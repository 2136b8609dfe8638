//! Run: a plan is carried out, and what happened is its trace.

mod agenda;
mod faults;
mod recordings;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use forebay::config::{Builder, Config};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use turmoil::Sim;

pub(crate) use self::agenda::{Agenda, Do, is_of};
use crate::capture::{Capture, CaptureError};
use crate::cpu;
use crate::disk::SimDisk;
use crate::link::Link;
use crate::log::Collector;
use crate::net::{Fabric, HostId, SimNet};
use crate::node::Node;
use crate::panics;
use crate::peer::{self, Order, Peer};
use crate::plan::{Act, Plan, Play, Publish};
use crate::program::Program;
use crate::publisher::Encoder;
use crate::random;
use crate::recorder::Recorder;
use crate::relay;
use crate::time::SimTime;
use crate::trace::{RelaySeen, Trace, What, Who};

/// The turmoil host that all peers live on. Each has an address and a link of its own; hosts are
/// what costs in turmoil.
const PEERS: &str = "peers";

/// What sockets take before they say "later", in bytes: so that writes end inside tags.
const SEND_BUFFERS: RangeInclusive<usize> = 64 << 10..=1 << 20;

/// A plan that was carried out.
#[derive(Debug)]
pub struct Run {
    /// What was carried out.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// What the node was configured with.
    pub config: Config,
    /// What it cost, in CPU time.
    pub cost: Duration,
}

impl Run {
    /// Simulated seconds per CPU second.
    pub fn speed(&self) -> f64 {
        self.plan.end.secs_f64() / self.cost.as_secs_f64().max(1e-9)
    }
}

/// Why a plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan contradicts itself.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// There is no such capture, or it cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The node's configuration is wrong.
    #[error("the plan's settings: {0}")]
    Config(#[from] forebay::config::ConfigError),
    /// The operating system refuses a run on real sockets.
    #[error("on sockets: {0}")]
    Sockets(String),
    /// The simulation itself failed.
    #[error("the simulation failed: {0}")]
    Sim(String),
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// What a node's host runs.
type Software = Pin<Box<dyn Future<Output = turmoil::Result>>>;

/// Carries out a plan.
///
/// # Errors
///
/// If it cannot be carried out.
pub fn run(plan: &Plan) -> Result<Run, RunError> {
    run_with(plan, None)
}

/// As [`run`], with somebody's own program at the nodes in the place of the server.
///
/// # Errors
///
/// If it cannot be carried out.
pub fn run_with(plan: &Plan, program: Option<&Program>) -> Result<Run, RunError> {
    plan.check().map_err(RunError::Plan)?;
    let started = cpu::of_thread();
    let recorder = Recorder::new();
    let _panics = panics::watch(recorder.clone());
    let config = config(plan, ["listen.rtmp=0.0.0.0:1935", "listen.http=0.0.0.0:8080"])?;
    let trace = tracing::subscriber::with_default(Collector::new(recorder.clone()), || {
        let mut world = World::new(plan, config.clone(), recorder.clone(), program)?;
        world.run()?;
        // What the hosts' destructors say is not part of the run.
        recorder.set_muted(true);
        let trace = recorder.take();
        drop(world);
        Ok::<_, RunError>(trace)
    })?;
    Ok(Run { plan: plan.clone(), trace, config, cost: cpu::of_thread() - started })
}

/// What a plan's nodes are configured with, listening there.
pub(crate) fn config(plan: &Plan, listen: [&str; 2]) -> Result<Config, RunError> {
    let settings = listen.into_iter().chain(plan.settings.iter().map(String::as_str));
    let mut builder = Builder::new();
    for setting in settings {
        builder = builder.set("set", setting)?;
    }
    let mut config = builder.build()?;
    // A node's witness has a place of its own, or it sees nothing of a topic that is full.
    config.hub.subscribers_max += 1;
    Ok(config)
}

/// The captures that a plan's publishers play, each fit for whoever plays it.
pub(crate) fn captures(plan: &Plan) -> Result<BTreeMap<String, Arc<Capture>>, RunError> {
    let mut captures = BTreeMap::new();
    for line in &plan.lines {
        if let Act::Publish(publish) = &line.act {
            let capture = Capture::load(&publish.capture)?;
            let checked = Encoder::check(publish, &capture);
            checked.map_err(|why| RunError::Plan(format!("{}: {why}", line.who.name)))?;
            captures.insert(publish.capture.clone(), capture);
        }
    }
    Ok(captures)
}

/// Everything that a run needs while it goes on.
struct World<'a> {
    plan: &'a Plan,
    now: SimTime,
    sim: Sim<'a>,
    fabric: Fabric,
    recorder: Recorder,
    agenda: Agenda,
    nodes: BTreeMap<String, NodeHandle>,
    peers: BTreeMap<String, PeerHandle>,
    captures: BTreeMap<String, Arc<Capture>>,
    /// Lines whose faults go on.
    active: Vec<usize>,
    tasks: UnboundedSender<Task>,
}

struct NodeHandle {
    node: Node,
    host: HostId,
    /// It comes back so long after it has stopped; set while it is stopping.
    returns: Option<Option<Duration>>,
    /// Its process is dead, until then.
    down_until: Option<SimTime>,
}

struct PeerHandle {
    who: Who,
    host: HostId,
    net: SimNet,
    node: String,
    /// As its line says; a change for a while goes back to it.
    link: Link,
    orders: UnboundedSender<Order>,
}

impl<'a> World<'a> {
    fn new(
        plan: &'a Plan,
        config: Config,
        recorder: Recorder,
        program: Option<&Program>,
    ) -> Result<Self, RunError> {
        let fabric = Fabric::new(plan.seed).with_send_buffers(SEND_BUFFERS);
        let mut sim = turmoil::Builder::new()
            .tick_duration(plan.tick)
            .simulation_duration(Duration::from_secs(u32::MAX.into()))
            // The default is the time of day.
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .rng_seed(plan.seed)
            .build();
        let captures = captures(plan)?;
        let keys: Arc<[String]> = plan.keys().into();
        let mut nodes = BTreeMap::new();
        for name in plan.nodes() {
            let (host, net) = fabric.add_host(&name, Link::lan());
            let who = recorder.who(&name);
            let seed = random::stream(plan.seed, &format!("{name}/disk")).u64(..);
            let disk = SimDisk::of_node(seed, recorder.clone(), who);
            recordings::halts(plan, &name).for_each(|call| disk.halt_at(call));
            let node = Node {
                who,
                net,
                disk,
                config: relay::with_targets(&config, plan, &name)?,
                seed: random::stream(plan.seed, &format!("{name}/server")).u64(..),
                keys: keys.clone(),
                recorder: recorder.clone(),
                running: Arc::default(),
            };
            let (software, program) = (node.clone(), program.cloned());
            sim.host(name.as_str(), move || -> Software {
                match program.clone() {
                    None => Box::pin(software.clone().run()),
                    Some(program) => Box::pin(software.clone().run_own(program)),
                }
            });
            nodes.insert(name, NodeHandle { node, host, returns: None, down_until: None });
        }
        let (tasks, arriving) = unbounded_channel();
        let arriving = RefCell::new(Some(arriving));
        sim.host(PEERS, move || receive_tasks(arriving.borrow_mut().take()));
        let mut peers = BTreeMap::new();
        for (name, target) in plan.targets() {
            let (host, net) = fabric.add_target(name, target.link.clone());
            let (who, node, link) = (recorder.who(name), target.node.clone(), target.link.clone());
            // Until it comes nobody takes orders.
            let (orders, _) = unbounded_channel();
            peers.insert(name.to_owned(), PeerHandle { who, host, net, node, link, orders });
        }
        Ok(Self {
            plan,
            now: SimTime::ZERO,
            sim,
            fabric,
            recorder,
            agenda: Agenda::new(plan),
            nodes,
            peers,
            captures,
            active: Vec::new(),
            tasks,
        })
    }

    fn run(&mut self) -> Result<(), RunError> {
        // A step ahead of the plan, so that nodes listen before anybody dials.
        self.step()?;
        self.now = SimTime::ZERO;
        let mut is_quiet = false;
        while self.now < self.plan.end {
            self.recorder.set_now(self.now);
            self.fabric.advance(self.now);
            if !is_quiet && self.plan.quiet.is_some_and(|quiet| quiet <= self.now) {
                is_quiet = true;
                self.recorder.push(Who::WORLD, What::Quiet);
            }
            self.agenda.look(&self.recorder, self.now);
            while let Some(due) = self.agenda.take_due(self.now) {
                self.carry_out(due);
            }
            self.step()?;
            self.tell_dials();
            for goal in self.fabric.take_reached() {
                self.recorder.reach(Who::WORLD, goal);
            }
            for why in self.fabric.take_complaints() {
                self.recorder.push(Who::WORLD, What::Unphysical { why: why.into() });
            }
            self.after_step();
        }
        self.recorder.set_now(self.now);
        self.end_nodes();
        self.recorder.push(Who::WORLD, What::Finished);
        Ok(())
    }

    fn step(&mut self) -> Result<(), RunError> {
        self.nodes.values().for_each(|handle| handle.node.set_now(self.now));
        self.sim.step().map_err(|error| RunError::Sim(error.to_string()))?;
        self.now += self.plan.tick;
        Ok(())
    }

    /// Relays dial by themselves.
    fn tell_dials(&self) {
        for (node, target, from) in self.fabric.take_dials() {
            let node = self.nodes.values().find(|handle| handle.host == node);
            let target = self.peers.values().find(|handle| handle.host == target);
            if let Some((node, target)) = node.zip(target) {
                let (target, from) = (target.who, from.to_string().into());
                let dialed = RelaySeen::Dialed { target, from };
                self.recorder.push(node.node.who, What::Relay(dialed));
            }
        }
    }

    fn carry_out(&mut self, due: Do) {
        match due {
            Do::Line(index) => {
                let line = &self.plan.lines[index];
                match &line.act {
                    Act::Publish(publish) => self.publish(&line.who.name, publish),
                    Act::Play(play) if line.who.count == 1 => self.play(&line.who.name, play),
                    Act::Play(play) => {
                        for member in 0..line.who.count {
                            let at = self.now + play.apart * member;
                            self.agenda.add(at, Do::Member(index, member + 1));
                        }
                    }
                    Act::Target(target) => {
                        let peer = self.come(&line.who.name, &target.link, &target.node);
                        self.spawn(peer::target(peer, target.clone()));
                    }
                    Act::Speak { speech, node } => self.speak(&line.who.name, *speech, node),
                    _ => self.begin_fault(index),
                }
            }
            Do::Member(index, member) => {
                let line = &self.plan.lines[index];
                if let Act::Play(play) = &line.act {
                    self.play(&format!("{}-{member}", line.who.name), play);
                }
            }
            Do::EndFault(index) => self.end_fault(index),
            Do::Return(node) => self.restart(&node),
        }
    }

    /// A peer behind this link, about to dial this node.
    fn come(&mut self, name: &str, link: &Link, node: &str) -> Peer<SimNet> {
        let who = self.recorder.who(name);
        let (orders, obeys) = unbounded_channel();
        let known = self.peers.get(name).map(|peer| (peer.host, peer.net.clone()));
        let (host, net) = known.unwrap_or_else(|| self.fabric.add_host(name, link.clone()));
        self.fabric.set_link(host, link);
        let handle = PeerHandle {
            who,
            host,
            net: net.clone(),
            node: node.to_owned(),
            link: link.clone(),
            orders,
        };
        self.peers.insert(name.to_owned(), handle);
        self.cut_off(name, host);
        Peer {
            who,
            net,
            node: node.to_owned(),
            node_who: self.recorder.who(node),
            recorder: self.recorder.clone(),
            orders: obeys,
            seed: random::stream(self.plan.seed, name).u64(..),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Nobody takes it only when the simulation is over.
        let _gone = self.tasks.send(Box::pin(task));
    }

    fn publish(&mut self, name: &str, publish: &Publish) {
        let peer = self.come(name, &publish.link, &publish.node);
        if let Some(capture) = self.captures.get(&publish.capture).cloned() {
            self.spawn(peer::publish(peer, publish.clone(), capture));
        }
    }

    fn play(&mut self, name: &str, play: &Play) {
        let peer = self.come(name, &play.link, &play.node);
        self.spawn(peer::view(peer, play.clone()));
    }

    fn speak(&mut self, name: &str, speech: crate::plan::Speech, node: &str) {
        let peer = self.come(name, &Link::lan(), node);
        let key = spoken_of(self.plan);
        self.spawn(peer::speak(peer, speech, key));
    }
}

/// The stream that bad neighbours speak of.
pub(crate) fn spoken_of(plan: &Plan) -> String {
    plan.keys().into_iter().next().unwrap_or_else(|| "live/a".to_owned())
}

/// The program of the peers' host.
async fn receive_tasks(arriving: Option<UnboundedReceiver<Task>>) -> turmoil::Result {
    if let Some(mut arriving) = arriving {
        while let Some(task) = arriving.recv().await {
            tokio::spawn(task);
        }
    }
    std::future::pending().await
}
