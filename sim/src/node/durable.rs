//! Durable: what the server says of what it records, as soon as it says it.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::hub::StreamKey;
use forebay::shell::Control;
use forebay::shell::disk::Disk;
use forebay::shell::net::Net;

use super::Node;
use crate::trace::What;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(5);

/// Asks for as long as the node lives.
pub(super) async fn look<N: Net, D: Disk>(node: Node<N, D>, control: Control) {
    let mut known = BTreeMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        for key in &*node.keys {
            let status = control.archive_status(&StreamKey::from(key.as_str()));
            let Some(durable) = status.and_then(|status| status.durable) else { continue };
            if known.insert(key, durable) != Some(durable) {
                let (session, number) = (durable.session, durable.number);
                let what = What::Durable { key: key.as_str().into(), session, number };
                node.recorder.push_unless_muted(node.who, what);
            }
        }
    }
}
