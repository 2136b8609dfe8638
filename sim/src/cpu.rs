//! CPU time: what work cost, whatever else this machine was doing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread so far.
pub fn of_thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of this process so far, in all its threads.
pub fn of_process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    // These two clocks start at 0 and never go back.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
