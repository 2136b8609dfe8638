//! What nodes have recorded, looked at whenever none of their processes runs.

use std::sync::Arc;

use super::World;
use crate::disk::{Death, look};
use crate::plan::{Act, MomentKind, Plan, When};
use crate::random;
use crate::trace::What;

/// The calls of this node's disk at which the plan wants the node to crash.
pub(super) fn halts(plan: &Plan, node: &str) -> impl Iterator<Item = u64> {
    plan.lines.iter().filter_map(move |line| match (&line.when, &line.act) {
        (When::On { moment, delay }, Act::Crash { .. })
            if line.who.name == node
                && moment.who == node
                && moment.event == MomentKind::Disk
                && delay.is_zero() =>
        {
            Some(moment.count.into())
        }
        _ => None,
    })
}

impl World<'_> {
    /// A node's process is gone. What is on its disk?
    pub(super) fn look_at_disk(&self, name: &str, death: Death) {
        let Some(handle) = self.nodes.get(name) else { return };
        handle.node.disk.died(death);
        if handle.node.config.archive.directory.is_none() {
            return;
        }
        let purpose = format!("{name}/look/{}", self.now.micros());
        let seed = random::stream(self.plan.seed, &purpose).u64(..);
        let seen = look(&handle.node.disk, death == Death::OfMachine, seed);
        self.recorder.push(handle.node.who, What::Recordings(Arc::new(seen)));
    }

    /// The run is over: those nodes that record are killed, so that it can be looked at what they
    /// have recorded.
    pub(super) fn end_nodes(&mut self) {
        let records = |name: &String| self.nodes[name].node.config.archive.directory.is_some();
        let nodes: Vec<_> = self.nodes.keys().filter(|name| records(name)).cloned().collect();
        for name in nodes {
            if self.nodes[&name].down_until.is_none() {
                self.end_process(&name, Death::OfProcess);
            }
        }
    }
}
