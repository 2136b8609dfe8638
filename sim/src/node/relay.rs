//! What a node says of its relays, whenever that changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay::shell::disk::Disk;
use forebay::shell::net::Net;
use forebay::shell::{Control, RelayPhase};

use super::{Node, gauges};
use crate::trace::{RelaySeen, RelayState, RelayTold, What};

/// Looks for as long as the node lives, if it has relays.
pub(super) async fn look<N: Net, D: Disk>(node: Node<N, D>, control: Control) {
    if node.config.relay_to.is_empty() {
        return;
    }
    let mut known: BTreeMap<(String, String), RelayTold> = BTreeMap::new();
    loop {
        tokio::time::sleep(gauges::INTERVAL).await;
        for told in told(&control) {
            let name = (told.key.clone(), told.target.clone());
            let is_news = known.get(&name).is_none_or(|known| is_news(known, &told));
            if is_news {
                known.insert(name, told.clone());
                let seen = RelaySeen::Told(Arc::new(told));
                node.recorder.push_unless_muted(node.who, What::Relay(seen));
            }
        }
    }
}

/// What is sent changes all the time, and is told with something else.
fn is_news(known: &RelayTold, told: &RelayTold) -> bool {
    known.state != told.state
        || known.attempts != told.attempts
        || known.lag_tags != told.lag_tags
        || told.sent_tags >= known.sent_tags + 500
        || told.sent_tags < known.sent_tags
}

fn told(control: &Control) -> Vec<RelayTold> {
    let all = control.relays().into_iter().map(|(key, status)| RelayTold {
        key: key.to_string(),
        target: status.target,
        state: match status.phase {
            RelayPhase::Connecting => RelayState::Connecting,
            RelayPhase::Live => RelayState::Live,
            RelayPhase::Backoff(_) => RelayState::Backoff,
            RelayPhase::Rejected => RelayState::Rejected,
        },
        attempts: status.attempts,
        sent_tags: status.sent_tags,
        lag_tags: status.lag_tags,
        skipped_tags: status.skipped_tags,
    });
    all.collect()
}
