//! Panics: one inside a run is part of what happened; one of a scenario is an answer to its own
//! question. Neither belongs on the standard error.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::net::is_injected_panic;
use crate::recorder::Recorder;
use crate::trace::{What, Who};

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

fn install() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let recorder = RECORDER.try_with(|cell| cell.borrow().clone()).ok().flatten();
            let caught = CAUGHT.try_with(|cell| cell.borrow().is_some()).unwrap_or_default();
            match recorder {
                Some(recorder) => record(&recorder, info),
                None if caught => _ = CAUGHT.with(|cell| cell.replace(Some(describe(info)))),
                None => before(info),
            }
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a panic without words");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    format!("{message} at {place}")
}

fn record(recorder: &Recorder, info: &PanicHookInfo<'_>) {
    let injected = info.payload_as_str().is_some_and(is_injected_panic);
    let why = describe(info).into();
    recorder.push(Who::WORLD, What::Panicked { why, injected });
}

/// While this lives, panics on this thread go into the trace.
pub(crate) struct Watch;

pub(crate) fn watch(recorder: Recorder) -> Watch {
    install();
    RECORDER.with(|cell| cell.replace(Some(recorder)));
    Watch
}

impl Drop for Watch {
    fn drop(&mut self) {
        RECORDER.with(|cell| cell.replace(None));
    }
}

/// What was unwound with, and the words and place of the panic if it was one.
pub(crate) type Caught = (Box<dyn Any + Send>, String);

/// Calls `f`, and takes a panic for an answer.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    install();
    CAUGHT.with(|cell| cell.replace(Some(String::new())));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let words = CAUGHT.with(RefCell::take).unwrap_or_default();
    result.map_err(|payload| (payload, words))
}
