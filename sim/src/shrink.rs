//! Shrinking: a failing plan made smaller. It knows plans, and nothing of how they are run.

mod change;

use std::collections::BTreeSet;

use crate::plan::{Line, Plan};
use crate::time::SimTime;

/// What is left of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smallest plan that was seen to fail; the one there was if none was smaller.
    pub plan: Plan,
    /// How many runs it took.
    pub runs: u32,
}

/// Makes a failing plan smaller. `fails` runs a plan and says whether it fails for the same
/// cause; it is asked at most `runs_max` times, never twice about one plan, and never about a plan
/// that [`Plan::check`] objects to. `progress` is told of every smaller plan that fails, and how
/// many runs it took so far.
///
/// The cheapest gains come first: a run of half the length costs half, and every line that is
/// gone spares the later steps a question. They are repeated until none helps, for each may make
/// another one possible.
pub fn shrink(
    plan: &Plan,
    runs_max: u32,
    fails: &mut dyn FnMut(&Plan) -> bool,
    progress: &mut dyn FnMut(&Plan, u32),
) -> Shrunk {
    let tried = BTreeSet::from([plan.to_string()]);
    let mut search = Search { plan: plan.clone(), runs: 0, runs_max, tried, fails, progress };
    loop {
        let before = search.plan.clone();
        search.round();
        if search.plan == before || search.runs >= runs_max {
            return Shrunk { plan: search.plan, runs: search.runs };
        }
    }
}

/// So many microseconds are never cut further.
const GRAIN: u64 = 10_000;
const TENTH: u64 = 100_000;

struct Search<'a> {
    plan: Plan,
    runs: u32,
    runs_max: u32,
    /// Texts of plans that need no second run.
    tried: BTreeSet<String>,
    fails: &'a mut dyn FnMut(&Plan) -> bool,
    progress: &'a mut dyn FnMut(&Plan, u32),
}

impl Search<'_> {
    fn round(&mut self) {
        self.cut_end();
        self.drop_peers();
        self.drop_lines();
        self.reduce_groups();
        self.drop_extras();
        self.simplify_links();
        self.merge();
        self.share_names();
        self.simplify_moments();
        self.close_gaps();
        self.shorten();
        self.round_off();
    }

    /// Takes this plan instead if it fails too.
    fn attempt(&mut self, candidate: Plan) -> bool {
        if self.runs >= self.runs_max
            || candidate.check().is_err()
            || !self.tried.insert(candidate.to_string())
        {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.plan = candidate;
            (self.progress)(&self.plan, self.runs);
        }
        fails
    }

    /// Makes as many of `count` changes as it can: all together, else each half for itself, and
    /// so on. Whether it could make any.
    fn most(&mut self, count: usize, change: &dyn Fn(&mut Plan, &[bool])) -> bool {
        let origin = self.plan.clone();
        let mut made = vec![false; count];
        let mut ranges = vec![(0, count)];
        while let Some((from, to)) = ranges.pop() {
            let mut more = made.clone();
            more[from..to].fill(true);
            let mut candidate = origin.clone();
            change(&mut candidate, &more);
            if candidate == self.plan {
                continue;
            }
            if self.attempt(candidate) {
                made = more;
            } else if to - from > 1 {
                let middle = from + (to - from) / 2;
                ranges.extend([(middle, to), (from, middle)]);
            }
        }
        made.contains(&true)
    }

    /// As [`Self::most`], a change for each line.
    fn most_lines(&mut self, change: &dyn Fn(&mut Line)) -> bool {
        self.most(self.plan.lines.len(), &|plan, chosen| {
            let lines = plan.lines.iter_mut().zip(chosen);
            lines.filter(|(_, chosen)| **chosen).for_each(|(line, _)| change(line));
        })
    }

    /// Lowers a number towards 1: there at once, else by halving, until it is known to so many
    /// percent.
    fn lower(&mut self, from: u64, percent: u64, set: &dyn Fn(&mut Plan, u64)) {
        let (mut low, mut high) = (1, from);
        let mut next = low;
        while next < high {
            let mut candidate = self.plan.clone();
            set(&mut candidate, next);
            if self.attempt(candidate) {
                high = next;
            } else {
                low = next;
            }
            if high - low <= 1 + high * percent / 100 {
                return;
            }
            next = low + (high - low) / 2;
        }
    }

    fn cut_end(&mut self) {
        let mut restless = self.plan.clone();
        restless.quiet = None;
        self.attempt(restless);
        let tenths = self.plan.end.micros().div_ceil(TENTH);
        self.lower(tenths, 10, &|plan, tenths| {
            change::cut(plan, SimTime::from_micros(tenths * TENTH));
        });
    }

    fn drop_peers(&mut self) {
        let names = change::names(&self.plan);
        self.most(names.len(), &|plan, dropped| {
            let gone = |name: &str| names.iter().zip(dropped).any(|(n, gone)| *gone && n == name);
            plan.lines.retain(|line| !gone(&line.who.name));
            plan.prune();
        });
    }

    fn drop_lines(&mut self) {
        self.most(self.plan.lines.len(), &|plan, dropped| {
            change::drop_chosen(&mut plan.lines, dropped);
            plan.prune();
        });
    }

    fn reduce_groups(&mut self) {
        for name in change::names(&self.plan) {
            let mut lines = self.plan.lines.iter();
            let size = lines.find(|line| line.who.name == name).map(|line| line.who.count);
            self.lower(size.unwrap_or(1).into(), 0, &|plan, count| {
                change::resize(plan, &name, count as u32);
                plan.prune();
            });
        }
    }

    /// What a plan can do without, and what it can have simpler.
    fn drop_extras(&mut self) {
        self.most(self.plan.settings.len(), &|plan, dropped| {
            change::drop_chosen(&mut plan.settings, dropped);
        });
        let quirks = self.plan.lines.iter().map(change::quirk_count).sum();
        self.most(quirks, &change::drop_quirks);
        for change in change::EXTRAS {
            self.most_lines(&change);
        }
        let nodes = change::nodes(&self.plan);
        self.most(nodes.len(), &|plan, merged| {
            let chosen = nodes.iter().zip(merged).filter(|(_, merged)| **merged);
            chosen.for_each(|(node, _)| change::rename(plan, node, "node"));
        });
    }

    fn simplify_links(&mut self) {
        for simplify in change::LINKS {
            self.most_lines(&|line| change::simplify_link(line, simplify));
        }
    }

    /// Two peers that come alike become a group.
    fn merge(&mut self) {
        let mut pair = 0;
        while let Some(candidate) = change::merged(&self.plan, pair) {
            if !self.attempt(candidate) {
                pair += 1;
            }
        }
    }

    /// One who comes twice instead of two who come once.
    fn share_names(&mut self) {
        let mut other = 0;
        while let Some(candidate) = change::shared(&self.plan, other) {
            if !self.attempt(candidate) {
                other += 1;
            }
        }
    }

    fn simplify_moments(&mut self) {
        self.most_lines(&change::first_time);
        for index in 0..self.plan.lines.len() {
            for guess in change::times_of(&self.plan, index) {
                let mut candidate = self.plan.clone();
                candidate.lines[index].when = guess;
                if self.attempt(candidate) {
                    break;
                }
            }
        }
    }

    fn close_gaps(&mut self) {
        let close = |search: &mut Self, shorter: &dyn Fn(u64) -> u64| {
            let gaps = change::times(&search.plan).len();
            search.most(gaps, &|plan, chosen| change::close_gaps(plan, chosen, shorter))
        };
        // Further in the next round, if it helps: asked until it does not, each gap would cost a
        // run for every time it can be halved.
        close(self, &|_| 0);
        close(self, &|gap| half(half(half(gap))));
        close(self, &half);
    }

    fn shorten(&mut self) {
        while self.most_lines(&|line| change::durations(line, &half)) {}
        while self.most_lines(&change::halve_part) {}
    }

    fn round_off(&mut self) {
        for grain in [TENTH, TENTH / 10, TENTH / 100] {
            let floor = |micros: u64| micros / grain * grain;
            // The last two are when it is quiet and when it is over.
            let count = self.plan.lines.len() + 2;
            self.most(count, &|plan, chosen| change::round_times(plan, chosen, &floor));
            let positive = |micros: u64| if micros < grain { micros } else { floor(micros) };
            self.most_lines(&|line| change::durations(line, &positive));
        }
    }
}

/// Half a time in whole milliseconds, down to what is worth a run.
fn half(micros: u64) -> u64 {
    if micros < 2 * GRAIN { micros } else { micros / 2_000 * 1_000 }
}
