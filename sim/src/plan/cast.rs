//! Who plays in a plan: its peers and its nodes, and whether what is said of them can be.

use std::collections::BTreeMap;

use super::vocabulary::{MOMENTS, NODE, hint, word};
use super::{Act, Actor, Line, MomentKind, Plan, When};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A peer that publishes.
    Publisher,
    /// A peer that plays.
    Viewer,
    /// A peer that speaks as it likes.
    Neighbour,
    /// A server that is relayed to.
    Target,
    /// A server.
    Node,
}

/// Everybody, with how many they are.
pub(super) struct Cast<'a>(BTreeMap<&'a str, (Role, u32)>);

/// Why a plan cannot be.
pub(super) struct Objection {
    /// The line's index.
    pub(super) line: usize,
    pub(super) part: Part,
    pub(super) reason: String,
}

/// A part of a line.
pub(super) enum Part {
    When,
    Who,
    Act,
}

impl<'a> Cast<'a> {
    /// Whoever is in a plan, and the first reason why it cannot be.
    pub(super) fn of(plan: &'a Plan) -> (Self, Option<Objection>) {
        let mut cast = Self(BTreeMap::new());
        let mut objection = None;
        let mut object = |line, part, reason: Result<(), String>| {
            if let Err(reason) = reason {
                objection.get_or_insert(Objection { line, part, reason });
            }
        };
        for (index, line) in plan.lines.iter().enumerate() {
            if let Some((role, node)) = introduction(&line.act) {
                object(index, Part::Who, cast.introduce(&line.who, role));
                object(index, Part::Act, cast.introduce_node(node));
            }
        }
        // The default node is always there to be named, but it takes part only if it is.
        let named = plan.lines.iter().any(|line| line.who.name == NODE);
        cast.0.entry(NODE).or_insert((Role::Node, u32::from(named)));
        for (index, line) in plan.lines.iter().enumerate() {
            object(index, Part::When, cast.check_moment(&line.when));
            object(index, Part::Who, cast.check_actor(line));
            object(index, Part::Act, cast.check_act(line));
        }
        (cast, objection)
    }

    fn introduce(&mut self, who: &'a Actor, role: Role) -> Result<(), String> {
        let Some(known) = self.0.insert(&who.name, (role, who.count)) else { return Ok(()) };
        let name = &who.name;
        if known.0 != role || matches!(role, Role::Neighbour | Role::Target) {
            return Err(format!("`{name}` already {}", known.0.does()));
        }
        if known.1 != who.count {
            return Err(format!("`{name}` was introduced as {} of its kind", known.1));
        }
        Ok(())
    }

    fn introduce_node(&mut self, name: &'a str) -> Result<(), String> {
        match *self.0.entry(name).or_insert((Role::Node, 1)) {
            (Role::Node, _) => Ok(()),
            (role, _) => Err(format!("`{name}` is no node: it {}", role.does())),
        }
    }

    /// The group that this is a member's name of.
    fn group_of(&self, name: &str) -> Option<Role> {
        let (group, number) = name.rsplit_once('-')?;
        let &(role, count) = self.0.get(group)?;
        let canonical = number.parse::<u32>().ok().filter(|it| it.to_string() == number)?;
        (count > 1 && (1..=count).contains(&canonical)).then_some(role)
    }

    /// What a name stands for, be it a member of a group.
    pub(super) fn role(&self, name: &str) -> Option<Role> {
        self.0.get(name).map(|(role, _)| *role).or_else(|| self.group_of(name))
    }

    fn role_or_hint(&self, name: &str) -> Result<Role, String> {
        self.role(name).ok_or_else(|| {
            let known = self.0.keys().copied().collect::<Vec<_>>();
            format!("nobody introduced `{name}`{}", hint(name, &known))
        })
    }

    fn check_moment(&self, when: &When) -> Result<(), String> {
        let When::On { moment, .. } = when else { return Ok(()) };
        let role = self.role_or_hint(&moment.who)?;
        let possible = match moment.event {
            MomentKind::Connected | MomentKind::Closed => role != Role::Node,
            MomentKind::Publishing
            | MomentKind::Keyframe
            | MomentKind::Header
            | MomentKind::Tag => matches!(role, Role::Publisher | Role::Target),
            MomentKind::Playing | MomentKind::Picture | MomentKind::Lag => role == Role::Viewer,
            MomentKind::Started | MomentKind::Down => matches!(role, Role::Node | Role::Target),
            MomentKind::Disk => role == Role::Node,
        };
        let event = word(&MOMENTS, &moment.event);
        possible
            .then_some(())
            .ok_or_else(|| format!("`{}` {}: there is no `{event}` of it", moment.who, role.does()))
    }

    fn check_actor(&self, line: &Line) -> Result<(), String> {
        let Actor { name, count } = &line.who;
        if introduction(&line.act).is_some() {
            if matches!(line.act, Act::Target(_)) && *count != 1 {
                return Err("each target is a server of its own".to_owned());
            }
            return self.check_alone(name);
        }
        self.role_or_hint(name)?;
        if *count != 1 {
            return Err(format!("a whole group is meant by its name: `{name}`"));
        }
        Ok(())
    }

    /// A new name must not be that of a group's member.
    fn check_alone(&self, name: &str) -> Result<(), String> {
        if self.group_of(name).is_none() { Ok(()) } else { Err(format!("`{name}` is in a group")) }
    }

    fn check_act(&self, line: &Line) -> Result<(), String> {
        if let Some((_, node)) = introduction(&line.act) {
            return self.check_alone(node);
        }
        let Some(role) = self.role(&line.who.name) else { return Ok(()) };
        let (possible, whose) = match line.act {
            Act::Publish(_) | Act::Play(_) | Act::Speak { .. } | Act::Target(_) => (true, ""),
            Act::Stall(_) => (role == Role::Publisher, "a publisher"),
            Act::Receive(_) => (role == Role::Viewer, "a viewer"),
            // Of a node: everybody's way to it.
            Act::Cut(..) => (true, ""),
            Act::StopReading(_) | Act::Link(..) | Act::Forget | Act::Reset => {
                (role != Role::Node, "a peer")
            }
            Act::Leave(_) | Act::Cancel | Act::Panic => {
                (!matches!(role, Role::Node | Role::Target), "a peer that comes to a node")
            }
            Act::Crash { .. } | Act::Freeze(_) | Act::Refuse(_) | Act::Hang(_) => {
                (matches!(role, Role::Node | Role::Target), "a node or a target")
            }
            Act::Stop(_) | Act::Late(..) | Act::Egress(..) | Act::Disk(..) => {
                (role == Role::Node, "a node")
            }
        };
        let name = &line.who.name;
        possible
            .then_some(())
            .ok_or_else(|| format!("this can only happen to {whose}, and `{name}` {}", role.does()))
    }
}

impl Role {
    fn does(self) -> &'static str {
        match self {
            Self::Publisher => "publishes",
            Self::Viewer => "plays",
            Self::Neighbour => "speaks",
            Self::Target => "is relayed to",
            Self::Node => "is a node",
        }
    }
}

/// The role that an act gives to whom it names, and the node it needs.
pub(super) fn introduction(act: &Act) -> Option<(Role, &str)> {
    match act {
        Act::Publish(publish) => Some((Role::Publisher, &publish.node)),
        Act::Play(play) => Some((Role::Viewer, &play.node)),
        Act::Speak { node, .. } => Some((Role::Neighbour, node)),
        Act::Target(target) => Some((Role::Target, &target.node)),
        _ => None,
    }
}

impl Plan {
    /// Whether this can be run: exactly if its text says the same.
    ///
    /// # Errors
    ///
    /// The reason why not, with its place in the text.
    pub fn check(&self) -> Result<(), String> {
        let text = self.to_string();
        let read = text.parse::<Self>().map_err(|error| {
            let line = text.split('\n').nth(error.line - 1).unwrap_or_default();
            format!("{error}, in `{line}`")
        })?;
        if read == *self { Ok(()) } else { Err("its text would be another plan's".to_owned()) }
    }

    /// Takes away the lines that cannot be, as those of peers that never come.
    pub(crate) fn prune(&mut self) {
        while let Some(Objection { line, .. }) = Cast::of(self).1 {
            self.lines.remove(line);
        }
    }

    /// How many take part: peers and nodes. A group counts as its size.
    pub fn hosts(&self) -> usize {
        Cast::of(self).0.0.values().map(|(_, count)| *count as usize).sum()
    }

    /// How many things happen. The lines that say when it is quiet and when it is over do not
    /// count, nor do the settings.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }
}
