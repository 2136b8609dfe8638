//! Relay: how a node is configured so that it relays to the plan's targets.

use std::fmt::Write as _;
use std::io;

use forebay::config::{Builder, Config, Outside};

use crate::plan::Plan;
use crate::run::RunError;

/// The keys that targets want, by the variables' names.
struct Keys<'a>(&'a Plan);

impl Outside for Keys<'_> {
    fn read(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        let mut targets = self.0.targets();
        targets.find(|(known, _)| *known == name).and_then(|(_, target)| target.key.clone())
    }
}

/// A node's configuration, with a `[[relay]]` for each of its targets.
pub(crate) fn with_targets(config: &Config, plan: &Plan, node: &str) -> Result<Config, RunError> {
    let mut tables = String::new();
    for (name, target) in plan.targets().filter(|(_, target)| target.node == node) {
        let (streams, app) = (&target.streams, target.app());
        // Writing into a text cannot fail.
        let _infallible = match &target.key {
            None => writeln!(
                tables,
                "[[relay]]\nstream = \"{streams}\"\nurl = \"rtmp://{name}/{app}/{{name}}\""
            ),
            Some(_) => writeln!(
                tables,
                "[[relay]]\nstream = \"{streams}\"\nurl = \"rtmp://{name}/{app}/{{name}}?key={{key}}\"\nkey_env = \"{name}\""
            ),
        };
    }
    let with_relays = Builder::new().file("plan", &tables)?.build_with(&Keys(plan))?;
    Ok(Config { relay_to: with_relays.relay_to, ..config.clone() })
}

/// What people are told of where a stream goes.
pub(crate) fn label(target: &str, key: &str) -> String {
    format!("rtmp://{target}/{key}")
}
