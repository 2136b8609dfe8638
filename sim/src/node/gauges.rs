//! Gauges: what the server says of itself, against what its configuration allows, and the goals
//! that show in nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::blocks::BlockCounters;
use forebay::hub::{Hub, Kind, TopicInfo};
use forebay::shell::Control;
use forebay::shell::disk::Disk;
use forebay::shell::net::Net;

use super::Node;
use crate::trace::What;

/// How often gauges are looked at.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// A log is made of blocks: the first is partly past, the last partly to come, and some are free.
/// Besides, a viewer holds on to what it is about to write.
const LOG_SLACK: u64 = 1 << 20;

/// A name, a value, and what it may not exceed. The name's beginning says which invariant asks.
type Gauge = (&'static str, u64, u64);

/// Looks at all gauges for as long as the node lives.
pub(super) async fn look<N: Net, D: Disk>(node: Node<N, D>, hub: Hub, control: Control) {
    let mut known = Known::default();
    let mut memory = Memory::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let topics = hub.topics();
        let now = Now {
            topics: &topics,
            open: control.open_connections() as u64,
            blocks: control.receive_blocks(),
        };
        memory.see(&node, &now);
        let gauges = now.of_hub(&node).into_iter().chain(now.of_blocks(&node, &control, &memory));
        for (name, value, bound) in gauges.filter(|gauge| known.is_news(gauge)) {
            node.recorder.push(node.who, What::Gauge { name, value, bound });
        }
    }
}

/// What was told of each gauge.
#[derive(Default)]
struct Known(BTreeMap<&'static str, (u64, bool)>);

impl Known {
    /// Half as much again as ever before is news, and whatever is near its bound or over it.
    fn is_news(&mut self, &(name, value, bound): &Gauge) -> bool {
        let (largest, was_over) = self.0.entry(name).or_default();
        let is_over = value > bound;
        let is_near = value > bound / 10 * 9;
        let is_news =
            value > *largest + *largest / 2 || value > *largest && is_near || is_over && !*was_over;
        if is_news {
            (*largest, *was_over) = (value.max(*largest), *was_over || is_over);
        }
        is_news
    }
}

/// A node at one moment.
struct Now<'a> {
    topics: &'a [TopicInfo],
    open: u64,
    blocks: BlockCounters,
}

impl Now<'_> {
    fn most(&self, of: fn(&TopicInfo) -> u64) -> u64 {
        self.topics.iter().map(of).max().unwrap_or(0)
    }

    fn of_hub<N: Net, D: Disk>(&self, node: &Node<N, D>) -> [Gauge; 9] {
        let limits = &node.config.hub;
        // A log for each protocol of what the ring holds.
        let written = node.config.connection.chunks.message_len_max as u64
            + node.config.play.write_len_max as u64;
        let logs_max = 2 * (limits.ring.pinned_bytes_max + LOG_SLACK + written);
        let subscribers = self.most(|topic| {
            topic.subscribers.iter().filter(|one| one.kind != Kind::Consumer).count() as u64
        });
        let viewers = self.topics.iter().map(viewers).sum();
        // A log is there for its viewers, and for as long as they are.
        let idle_log = self.most(|topic| if viewers_of(topic) == 0 { topic.log_bytes } else { 0 });
        let ring_bytes = self.most(|topic| topic.pinned_bytes);
        let ring_tags = self.most(|topic| topic.ring_tags);
        // What is asked for is cut to the bound when it is asked for, and may wait for the disk then.
        let archive_max =
            node.config.archive.policy.backlog_bytes_max.max(limits.ring.pinned_bytes_max);
        [
            ("ring_pinned_bytes", ring_bytes, limits.ring.pinned_bytes_max),
            ("ring_tags", ring_tags, limits.ring.tags_max as u64),
            ("wire_log_bytes", self.most(|topic| topic.log_bytes), logs_max),
            ("subscribers", subscribers, limits.subscribers_max as u64),
            ("topics", self.topics.len() as u64, limits.topics_max as u64),
            ("connections", self.open, node.config.listen.connections_max as u64),
            // A connection plays one stream at most.
            ("left_viewers", viewers, self.open),
            ("left_log_bytes", idle_log, 0),
            ("archive_backlog_bytes", self.most(recorder_backlog), archive_max),
        ]
    }

    fn of_blocks<N: Net, D: Disk>(
        &self,
        node: &Node<N, D>,
        control: &Control,
        memory: &Memory,
    ) -> [Gauge; 3] {
        let limits = node.config.blocks;
        let block_len = limits.block_len as u64;
        // Those that wait, and the one in use.
        let pool_max = (limits.waiting_blocks_max as u64 + 1) * block_len;
        let parser = node.config.connection.chunks.buffered_bytes_max as u64;
        let ring = node.config.hub.ring.pinned_bytes_max;
        // As much again may be free, and what is free is kept for what comes.
        let connection_max = pool_max.min(2 * (ring + parser) + 4 * block_len);
        // What the rings held at their fullest, and as much of publishers that were replaced: whoever
        // receives nothing tells what was pinned when he last did. Behind each end of it a block
        // that is partly past or partly to come; what a message on its way holds.
        let message = node.config.connection.chunks.message_len_max as u64;
        let pinned_max = 2 * memory.rings + message + 4 * block_len * (self.open + 1);
        [
            ("pool_held_bytes", self.blocks.held_bytes as u64, self.open * pool_max),
            ("connection_held_bytes", control.receive_bytes_max(), connection_max),
            ("pinned_bytes", self.blocks.pinned_bytes as u64, pinned_max),
        ]
    }
}

/// Bytes that wait to be recorded.
fn recorder_backlog(topic: &TopicInfo) -> u64 {
    let recorders = topic.subscribers.iter().filter(|one| one.peer == "archive");
    recorders.map(|one| one.backlog_bytes).max().unwrap_or(0)
}

fn viewers_of(topic: &TopicInfo) -> usize {
    topic.subscribers.iter().filter(|one| matches!(one.kind, Kind::Viewer(_))).count()
}

fn viewers(topic: &TopicInfo) -> u64 {
    viewers_of(topic) as u64
}

/// What it takes more than a moment to see.
#[derive(Default)]
struct Memory {
    /// What the rings have held together, at most.
    rings: u64,
    /// By topic: tags that its viewers have lost to slowness, and the log's blocks used again when
    /// one of them last lost any.
    slow: BTreeMap<String, Slow>,
}

#[derive(Default)]
struct Slow {
    lost: u64,
    reclaimed: Option<u64>,
}

impl Memory {
    fn see<N: Net, D: Disk>(&mut self, node: &Node<N, D>, now: &Now<'_>) {
        let rings = now.topics.iter().map(|topic| topic.pinned_bytes).sum::<u64>();
        self.rings = self.rings.max(rings);
        let reach = |goal| node.recorder.reach(node.who, goal);
        if now.blocks.past_bound > 0 {
            reach("pool_at_limit");
        }
        // Nothing is larger than a sound there: whatever keeps a block is small, and so is all of
        // it together.
        let is_sound = now.topics.iter().all(|topic| !topic.has_video);
        if is_sound && now.blocks.pinned_bytes as u64 > 2 * rings && rings > 0 {
            reach("block_pinned_by_small_tag");
        }
        if now.topics.iter().any(|topic| self.is_used_again(topic)) {
            reach("held_block_returned_to_use");
        }
    }

    /// Whether a block that a viewer held while it lost tags is written to again.
    fn is_used_again(&mut self, topic: &TopicInfo) -> bool {
        let lost = |counters: &forebay::hub::Counters| counters.overflow_tags();
        let lost = topic.subscribers.iter().map(|viewer| lost(&viewer.counters)).sum::<u64>();
        let slow = self.slow.entry(topic.key.to_string()).or_default();
        if lost > slow.lost {
            slow.reclaimed = Some(topic.log_reclaimed);
        }
        slow.lost = lost;
        if viewers_of(topic) == 0 {
            // The log is gone, with its blocks.
            slow.reclaimed = None;
        }
        // The blocks that wait longest are looked at first: behind its viewers' last backlog, what
        // is used again is what they held.
        let all_near = topic.subscribers.iter().all(|viewer| viewer.backlog_ms < NEAR_MS);
        match slow.reclaimed {
            Some(before) if all_near => topic.log_reclaimed > before,
            Some(_) => {
                slow.reclaimed = Some(topic.log_reclaimed);
                false
            }
            None => false,
        }
    }
}

/// A viewer that waits for so little holds no block that the log does not hold as well.
const NEAR_MS: u64 = 500;
