//! Real: a plan carried out by the real server on loopback sockets, in real time, by the publishers
//! and viewers of the simulation (D6). What they sent and got is compared with the simulated run;
//! times are not.
//!
//! All of it lives on one thread, as the simulation does: what the nodes log and how they panic
//! goes into the trace by the thread it happens on.

mod agreement;
mod possible;
mod sockets;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay::config::Config;
use forebay::shell::disk::RealDisk;
use forebay::shell::net::TokioNet;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use self::agreement::{Agreement, JUDGED, Row, compare};
pub use self::possible::{LeftOut, possible};
use self::sockets::Loopback;
use crate::capture::Capture;
use crate::cpu;
use crate::log::Collector;
use crate::node::Node;
use crate::panics;
use crate::peer::{self, Order, Peer};
use crate::plan::{Act, Plan};
use crate::random;
use crate::recorder::Recorder;
use crate::run::{self, Agenda, Do, Run, RunError, is_of};
use crate::time::SimTime;
use crate::trace::{Trace, What, Who};

/// How long a node may take to listen.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries out a plan on sockets. It takes as long as the plan says. Lines that loopback cannot
/// carry out are not carried out: [`possible`] says which.
///
/// # Errors
///
/// If the plan cannot be carried out, or its nodes cannot listen.
pub fn run(plan: &Plan) -> Result<Run, RunError> {
    plan.check().map_err(RunError::Plan)?;
    let mut config = run::config(plan, ["listen.rtmp=127.0.0.1:0", "listen.http=127.0.0.1:0"])?;
    let recordings = Recordings::new();
    if let Some(directory) = &mut config.archive.directory {
        directory.clone_from(&recordings.0);
    }
    let started = cpu::of_thread();
    let recorder = Recorder::new();
    let _panics = panics::watch(recorder.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Sockets(error.to_string()))?;
    let trace = tracing::subscriber::with_default(Collector::new(recorder.clone()), || {
        let trace = runtime.block_on(carry_out(plan, &config, recorder.clone()))?;
        // What the tasks' destructors say is not part of the run.
        recorder.set_muted(true);
        drop(runtime);
        Ok::<_, RunError>(trace)
    })?;
    Ok(Run { plan: plan.clone(), trace, config, cost: cpu::of_thread() - started })
}

/// Where nodes record on real time: a directory of this run alone, which is gone with it.
struct Recordings(PathBuf);

impl Recordings {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("forebay-sim-{}", std::process::id())))
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        // Mostly nothing was recorded, and there is none.
        let _not_there = std::fs::remove_dir_all(&self.0);
    }
}

async fn carry_out(plan: &Plan, config: &Config, recorder: Recorder) -> Result<Trace, RunError> {
    let captures = run::captures(plan)?;
    let mut nodes = BTreeMap::new();
    let mut listening = BTreeMap::new();
    for name in plan.nodes() {
        let node = node(plan, config, &recorder, &name);
        listening.insert(name.clone(), listens(&node).await?);
        nodes.insert(name, node);
    }
    let net = Loopback::new(listening);
    let (agenda, peers) = (Agenda::new(plan), BTreeMap::new());
    let mut world = World { plan, recorder, agenda, net, nodes, peers, captures };
    world.run().await;
    Ok(world.recorder.take())
}

fn node(plan: &Plan, config: &Config, recorder: &Recorder, name: &str) -> Node<TokioNet, RealDisk> {
    Node {
        who: recorder.who(name),
        net: TokioNet,
        disk: RealDisk::default(),
        config: config.clone(),
        seed: random::stream(plan.seed, &format!("{name}/server")).u64(..),
        keys: plan.keys().into(),
        recorder: recorder.clone(),
        running: Arc::default(),
    }
}

/// Starts a node, and says where it listens.
async fn listens(node: &Node<TokioNet, RealDisk>) -> Result<[std::net::SocketAddr; 2], RunError> {
    let program = node.clone();
    let running: JoinHandle<Option<String>> =
        tokio::spawn(async move { program.run().await.err().map(|error| error.to_string()) });
    let listening = async {
        loop {
            match node.addresses() {
                Some(addresses) => return Ok(addresses),
                None if running.is_finished() => break,
                None => sleep(Duration::from_millis(1)).await,
            }
        }
        let why = running.await.ok().flatten();
        Err(RunError::Sockets(why.unwrap_or_else(|| "a node ended at once".to_owned())))
    };
    let late = |_| RunError::Sockets("a node does not begin to listen".to_owned());
    tokio::time::timeout(LISTEN_TIMEOUT, listening).await.map_err(late)?
}

/// Everything that a run needs while it goes on.
struct World<'a> {
    plan: &'a Plan,
    recorder: Recorder,
    agenda: Agenda,
    net: Loopback,
    nodes: BTreeMap<String, Node<TokioNet, RealDisk>>,
    peers: BTreeMap<String, PeerHandle>,
    captures: BTreeMap<String, Arc<Capture>>,
}

struct PeerHandle {
    who: Who,
    node: String,
    orders: UnboundedSender<Order>,
}

impl World<'_> {
    async fn run(&mut self) {
        let mut ticks = interval(self.plan.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.recorder.begin_real_time();
        loop {
            ticks.tick().await;
            let now = self.recorder.now();
            if now >= self.plan.end {
                break;
            }
            self.agenda.look(&self.recorder, now);
            while let Some(due) = self.agenda.take_due(now) {
                self.carry_out(due, now);
            }
        }
        self.recorder.push(Who::WORLD, What::Finished);
    }

    fn carry_out(&mut self, due: Do, now: SimTime) {
        let (Do::Line(index) | Do::Member(index, _) | Do::EndFault(index)) = due else { return };
        let plan = self.plan;
        let line = &plan.lines[index];
        let name = &line.who.name;
        match (&line.act, &due) {
            (_, Do::EndFault(_)) => self.tell_fault(index, false),
            (Act::Publish(publish), _) => {
                let peer = self.come(name, &publish.node);
                if let Some(capture) = self.captures.get(&publish.capture).cloned() {
                    spawn(peer::publish(peer, publish.clone(), capture));
                }
            }
            (Act::Play(play), Do::Member(_, member)) => {
                let peer = self.come(&format!("{name}-{member}"), &play.node);
                spawn(peer::view(peer, play.clone()));
            }
            (Act::Play(play), _) if line.who.count == 1 => {
                let peer = self.come(name, &play.node);
                spawn(peer::view(peer, play.clone()));
            }
            (Act::Play(play), _) => {
                for member in 0..line.who.count {
                    self.agenda.add(now + play.apart * member, Do::Member(index, member + 1));
                }
            }
            (Act::Speak { speech, node }, _) => {
                let peer = self.come(name, node);
                spawn(peer::speak(peer, *speech, run::spoken_of(plan)));
            }
            (act, _) => {
                self.tell_fault(index, true);
                self.do_to_peers(name, act);
                if let Some(lasts) = act.lasts() {
                    self.agenda.add(now + lasts, Do::EndFault(index));
                }
            }
        }
    }

    /// A peer about to dial this node.
    fn come(&mut self, name: &str, node: &str) -> Peer<Loopback> {
        let who = self.recorder.who(name);
        let (orders, obeys) = unbounded_channel();
        self.peers.insert(name.to_owned(), PeerHandle { who, node: node.to_owned(), orders });
        Peer {
            who,
            net: self.net.clone(),
            node: node.to_owned(),
            node_who: self.recorder.who(node),
            recorder: self.recorder.clone(),
            orders: obeys,
            seed: random::stream(self.plan.seed, name).u64(..),
        }
    }

    fn do_to_peers(&self, actor: &str, act: &Act) {
        let order = match act {
            Act::StopReading(time) => Order::StopReading(*time),
            Act::Leave(leave) => Order::Leave(*leave),
            Act::Stall(time) => Order::Stall(*time),
            Act::Receive(receive) => Order::Receive(*receive),
            Act::Cancel => return self.cancel(actor),
            _ => return,
        };
        for (_, peer) in self.peers.iter().filter(|(name, _)| is_of(name, actor)) {
            // A peer that has left for good takes no orders.
            let _gone = peer.orders.send(order);
        }
    }

    fn cancel(&self, actor: &str) {
        for (_, peer) in self.peers.iter().filter(|(name, _)| is_of(name, actor)) {
            let address = self.recorder.address_of(peer.who);
            let address = address.and_then(|address| address.parse().ok());
            if let Some((address, node)) = address.zip(self.nodes.get(&peer.node)) {
                node.cancel(address);
            }
        }
    }

    fn tell_fault(&self, index: usize, begins: bool) {
        let line = &self.plan.lines[index];
        let Some(family) = self.plan.family(line) else { return };
        let who = self.recorder.who(&line.who.name);
        let line = line.act.to_string().into();
        self.recorder.push(
            who,
            match begins {
                true => What::FaultBegins { family, line },
                false => What::FaultEnds { family, line },
            },
        );
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    // It ends with the runtime.
    drop(tokio::spawn(task));
}
