//! Call: something that a disk is told to do, from when it is told to when it is done.
//!
//! One that nobody waits for any more, as its process is dead, may happen, in part, or not at all.

use std::future::pending;
use std::io;
use std::path::Path;

use super::tree::Tree;
use super::{SimDisk, State};
use crate::plan::{DiskCalls, DiskFault};
use crate::random::Rng;
use crate::trace::{DiskCall, DiskOutcome, DiskSeen, What};

/// How a call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Does(Done),
    Fails(io::ErrorKind),
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    All,
    /// A write ends in its middle; what is read is not quite it.
    Part,
    /// Nothing, and the caller is told that it was.
    Lie,
}

impl Verdict {
    pub(super) fn done(self) -> io::Result<Done> {
        match self {
            Self::Does(done) => Ok(done),
            Self::Fails(kind) => Err(kind.into()),
        }
    }

    /// For calls that have no parts.
    pub(super) fn whole(self) -> io::Result<()> {
        self.done().map(drop)
    }
}

/// A call on its way. Dropped before it has come to its end, it may happen or not.
struct Flight<'d, R, F: FnOnce(&mut Tree, Verdict, &mut Rng) -> io::Result<R>> {
    disk: &'d SimDisk,
    call: DiskCall,
    number: u64,
    act: Option<F>,
}

impl<R, F: FnOnce(&mut Tree, Verdict, &mut Rng) -> io::Result<R>> Drop for Flight<'_, R, F> {
    fn drop(&mut self) {
        let Some(act) = self.act.take() else { return };
        let mut state = self.disk.lock();
        let mut random = state.random(&format!("dropped/{}", self.number));
        let has_parts = matches!(self.call, DiskCall::Append | DiskCall::WriteAt | DiskCall::Sync);
        let done = match random.u8(..3) {
            0 => return,
            1 if has_parts => Done::Part,
            _ => Done::All,
        };
        let result = act(&mut state.tree, Verdict::Does(done), &mut random);
        drop(state);
        // An open file closes itself, and wants the lock for it.
        drop(result);
    }
}

impl SimDisk {
    /// Does something to the tree, when its time has come, as far as the disk is able to.
    pub(super) async fn call<R>(
        &self,
        call: DiskCall,
        path: &Path,
        len: usize,
        act: impl FnOnce(&mut Tree, Verdict, &mut Rng) -> io::Result<R>,
    ) -> io::Result<R> {
        let (number, mut random, delay) = {
            let mut state = self.lock();
            state.calls += 1;
            let number = state.calls;
            state.is_halted |= state.halts.contains(&number);
            let mut random = state.random(&format!("call/{number}"));
            let delay = state.delay(call, len, &mut random);
            (number, random, delay)
        };
        self.tell(call, path, DiskOutcome::Begun);
        let mut flight = Flight { disk: self, call, number, act: Some(act) };
        self.pass_time(delay).await;
        let Some(act) = flight.act.take() else { return pending().await };
        let mut state = self.lock();
        let verdict = state.verdict(call);
        let result = act(&mut state.tree, verdict, &mut random);
        drop(state);
        let outcome = match (&result, verdict) {
            (Err(_), _) => DiskOutcome::Failed,
            (Ok(_), Verdict::Does(Done::Lie)) => DiskOutcome::Lied,
            (Ok(_), Verdict::Does(Done::Part)) => DiskOutcome::Flipped,
            (Ok(_), _) => DiskOutcome::Done,
        };
        self.tell(call, path, outcome);
        result.map_err(|error| named(&error, call, path))
    }

    async fn pass_time(&self, delay: std::time::Duration) {
        let (is_timeless, mut runs) = {
            let state = self.lock();
            (state.is_timeless, state.runs.subscribe())
        };
        if !is_timeless {
            tokio::time::sleep(delay).await;
            // An error means that the disk is gone, and nobody is here to see it.
            drop(runs.wait_for(|runs| *runs).await);
        }
        if self.lock().is_halted {
            pending::<()>().await;
        }
    }

    fn tell(&self, call: DiskCall, path: &Path, outcome: DiskOutcome) {
        // The recorder is told without the lock: it may be asked while the disk is.
        let Some((recorder, who)) = self.lock().recorder.clone() else { return };
        let path = path.to_string_lossy().into();
        recorder.push_unless_muted(who, What::Disk(DiskSeen { call, path, outcome }));
    }
}

/// Says what failed, as the real disk does.
fn named(error: &io::Error, call: DiskCall, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{call} {}: {error}", path.display()))
}

impl State {
    /// What the plan wants to become of this call.
    fn verdict(&mut self, call: DiskCall) -> Verdict {
        use DiskCall as Call;
        let writes = matches!(call, Call::Append | Call::WriteAt | Call::Truncate);
        let syncs = matches!(call, Call::Sync | Call::SyncDir);
        let names = matches!(call, Call::Create | Call::CreateDir | Call::Rename | Call::Remove);
        let opens = matches!(call, Call::Create | Call::Open | Call::List | Call::SyncDir);
        let grows = matches!(call, Call::Append | Call::WriteAt | Call::Create | Call::CreateDir);
        let fails = |fault: DiskFault| match fault {
            DiskFault::Fail(DiskCalls::Write) => writes,
            DiskFault::Fail(DiskCalls::Sync) => syncs,
            DiskFault::Fail(DiskCalls::Names) => names,
            _ => false,
        };
        if self.has(DiskFault::ReadOnly) && (writes || syncs || names) {
            return Verdict::Fails(io::ErrorKind::ReadOnlyFilesystem);
        }
        if self.has(DiskFault::NoFiles) && opens {
            return Verdict::Fails(io::ErrorKind::QuotaExceeded);
        }
        if self.take(fails) {
            return Verdict::Fails(io::ErrorKind::Other);
        }
        if self.has(DiskFault::Full) && grows {
            return Verdict::Fails(io::ErrorKind::StorageFull);
        }
        if call == Call::Append && self.take(|fault| fault == DiskFault::Short) {
            return Verdict::Does(Done::Part);
        }
        if call == Call::Read && self.take(|fault| fault == DiskFault::Flip) {
            return Verdict::Does(Done::Part);
        }
        match syncs && self.has(DiskFault::Lie) {
            true => Verdict::Does(Done::Lie),
            false => Verdict::Does(Done::All),
        }
    }
}
