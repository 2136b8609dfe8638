//! Log: what nodes say by `tracing`, put into the trace. A run's nodes live on one thread, and
//! turmoil says by a span whose turn it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::recorder::Recorder;
use crate::trace::{Account, LagCause, Level, What, Who};

/// Where lags and accounts are told.
const VIEWER_LOG: &str = "forebay::shell::viewer_log";

/// Takes the events of one thread's nodes.
pub(crate) struct Collector {
    recorder: Recorder,
    next_span: AtomicU64,
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Spans {
    nodes: BTreeMap<u64, String>,
    entered: Vec<u64>,
}

impl Collector {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder, next_span: AtomicU64::new(1), spans: Mutex::default() }
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> Who {
        let spans = self.spans();
        let name = spans.entered.last().and_then(|id| spans.nodes.get(id)).cloned();
        drop(spans);
        name.map_or(Who::WORLD, |name| self.recorder.who(&name))
    }
}

fn is_node_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == "node" && metadata.target().starts_with("turmoil")
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.is_event() && metadata.target().starts_with("forebay::");
    is_node_span(metadata)
        || is_ours && (*metadata.level() <= tracing::Level::INFO || metadata.target() == VIEWER_LOG)
}

impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_wanted(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_wanted(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next_span.fetch_add(1, Ordering::Relaxed);
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.spans().nodes.insert(id, fields.text("name"));
        Id::from_u64(id)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, span: &Id) {
        self.spans().entered.push(span.into_u64());
    }

    fn exit(&self, _span: &Id) {
        self.spans().entered.pop();
    }

    fn try_close(&self, id: Id) -> bool {
        self.spans().nodes.remove(&id.into_u64());
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let peer = self.recorder.at_address(&fields.text("peer"));
        if metadata.target() == VIEWER_LOG
            && let Some((viewer, what)) = peer.zip(fields.viewer_event())
        {
            self.recorder.push_unless_muted(viewer, what);
            return;
        }
        let level = match *metadata.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => return,
        };
        let text = fields.line().into();
        self.recorder.push_unless_muted(self.node(), What::Log { level, text });
    }
}

/// The fields of an event, in their order.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn text(&self, name: &str) -> String {
        let field = self.0.iter().find(|(known, _)| *known == name);
        field.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }

    fn line(&self) -> String {
        let mut line = self.text("message");
        for (name, value) in self.0.iter().filter(|(name, _)| *name != "message") {
            let _infallible = write!(line, " {name}={value}");
        }
        line
    }

    fn viewer_event(&self) -> Option<What> {
        let from = self.text("peer").into();
        match self.text("message").as_str() {
            "lag" => {
                let cause = match self.text("cause").as_str() {
                    "Overflow" => LagCause::Overflow,
                    "Disposable" => LagCause::Disposable,
                    "NoKeyframe" => LagCause::NoKeyframe,
                    _ => LagCause::Filtered,
                };
                let (tags, bytes) = (self.number("tags"), self.number("bytes"));
                Some(What::Lag { from, cause, tags, bytes })
            }
            "playing ends" => Some(What::Account {
                from,
                account: Account {
                    published: self.number("published"),
                    delivered: self.number("delivered"),
                    lag: self.number("lag"),
                    unsent: self.number("unsent"),
                },
            }),
            _ => None,
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }
}
