//! Possible: what of a plan can be carried out on loopback, and what has to be left out.

use std::time::Duration;

use crate::link::Link;
use crate::plan::{Act, Plan, When};
use crate::time::SimTime;

/// What sockets cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The plan's line, or a part of it.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

/// What of a plan can be carried out, in so much time at most, and what cannot.
///
/// # Errors
///
/// If nothing is left.
pub fn possible(plan: &Plan, at_most: Option<Duration>) -> Result<(Plan, Vec<LeftOut>), String> {
    let mut plan = plan.clone();
    let mut left_out = Vec::new();
    // Bounds of time are not judged on real time.
    plan.quiet = None;
    if let Some(end) = at_most.map(SimTime::from).filter(|end| *end < plan.end) {
        plan.end = end;
        let is_late = |when: &When| matches!(when, When::At(time) if *time >= end);
        plan.lines.retain(|line| !is_late(&line.when));
    }
    plan.lines.retain(|line| {
        let why = impossible(&line.act);
        left_out.extend(why.map(|why| LeftOut { what: line.to_string(), why }));
        why.is_none()
    });
    for line in &mut plan.lines {
        let link = match &mut line.act {
            Act::Publish(publish) => &mut publish.link,
            Act::Play(play) => &mut play.link,
            _ => continue,
        };
        if *link != Link::lan() {
            let what = format!("{} link {link}", line.who.name);
            left_out.push(LeftOut { what, why: "loopback is a link of its own" });
            *link = Link::lan();
        }
    }
    plan.prune();
    match plan.lines.is_empty() {
        true => Err("nothing of this plan can be carried out on sockets".to_owned()),
        false => Ok((plan, left_out)),
    }
}

fn impossible(act: &Act) -> Option<&'static str> {
    match act {
        Act::Publish(_)
        | Act::Play(_)
        | Act::Speak { .. }
        | Act::StopReading(_)
        | Act::Leave(_)
        | Act::Stall(_)
        | Act::Receive(_)
        | Act::Cancel => None,
        Act::Target(_) => Some("nobody listens there"),
        Act::Link(..)
        | Act::Cut(..)
        | Act::Forget
        | Act::Reset
        | Act::Egress(..)
        | Act::Refuse(_)
        | Act::Hang(_) => Some("loopback has no faults"),
        Act::Panic => Some("only a modelled read can panic"),
        Act::Crash { .. } | Act::Stop(_) => Some("the nodes live as long as the run"),
        Act::Freeze(_) | Act::Late(..) => Some("real clocks cannot be stopped"),
        Act::Disk(..) => Some("the disk is a real one"),
    }
}
