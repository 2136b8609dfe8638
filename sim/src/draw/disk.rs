//! What goes wrong with a disk that is recorded on, and when its node dies.

use super::{Draw, pick};
use crate::plan::{Act, DiskCalls, DiskFault, Moment, MomentKind, When};
use crate::random::Rng;
use crate::world::{NODE, Units as _};

/// A family of faults: its name, how long one lasts at most, in milliseconds, and one of them.
type Lasting = (&'static str, u64, fn(&mut Rng) -> DiskFault);

impl Draw<'_> {
    pub(super) fn disk(&mut self) {
        self.record();
        let lasting: [Lasting; 8] = [
            ("disk-slow", 6_000, |random| DiskFault::Slow(random.u64(1..400).ms())),
            ("disk-stall", 10_000, |_| DiskFault::Stall),
            ("disk-rate", 6_000, |random| DiskFault::Rate(random.u64(100_000..2_000_000))),
            ("disk-full", 6_000, |_| DiskFault::Full),
            ("disk-fails", 4_000, |random| DiskFault::Fail(calls(random))),
            ("disk-lies", 4_000, |_| DiskFault::Lie),
            ("disk-read-only", 4_000, |_| DiskFault::ReadOnly),
            ("disk-no-files", 4_000, |_| DiskFault::NoFiles),
        ];
        for (family, most, fault) in lasting {
            self.family(family, |draw, random, when| {
                let fault = fault(random);
                let lasts = draw.lasts(random, &when, most.ms());
                draw.push(when, NODE, Act::Disk(fault, Some(lasts)));
            });
        }
        self.family("disk-fails-once", |draw, random, when| {
            let once = [DiskFault::Fail(calls(random)), DiskFault::Short, DiskFault::Flip];
            let when = draw.at_call(random, when);
            draw.push(when, NODE, Act::Disk(pick(random, &once), None));
        });
        self.family("disk-leftovers", |draw, _, when| {
            draw.push(when, NODE, Act::Disk(DiskFault::Leftovers, None));
        });
        for (family, silent) in [("power", true), ("power-again", true), ("kill", false)] {
            self.family(family, |draw, random, when| {
                let when = draw.at_call(random, when);
                let down = Some(draw.lasts(random, &when, 1_500.ms()));
                draw.push(when, NODE, Act::Crash { down, silent });
            });
        }
    }

    /// How the nodes record.
    fn record(&mut self) {
        let mut random = self.world.random("draw/record");
        let directory = pick(&mut random, &["records", "/srv/records", "a/b/records"]);
        self.world.set(&format!("archive.directory=\"{directory}\""));
        self.world.set(&format!("archive.sync_ms={}", pick(&mut random, &[100, 300, 1_000])));
        self.world.set(&format!("archive.file_ms_max={}", random.u64(1_000..8_000)));
        self.world.set(&format!("archive.backlog_ms_max={}", random.u64(1_500..8_000)));
        if random.u32(..4) == 0 {
            self.world.set(&format!("archive.file_bytes_max={}", random.u64(1 << 16..1 << 20)));
        }
        if random.u32(..4) == 0 {
            self.world
                .set(&format!("archive.write_len_max={}", random.u64(1_000..100_000).max(1_024)));
        }
        self.world.set(&format!("archive.retry_ms={}", random.u64(100..2_000)));
    }

    /// Half of what happens, happens while the disk does something.
    fn at_call(&self, random: &mut Rng, when: When) -> When {
        if random.bool() {
            return when;
        }
        // Three calls twice a second, a dozen more with every file.
        let most = self.quiet.as_millis() as u32 / 1_000 * 5;
        let count = random.u32(1..most.max(20));
        let moment = Moment { who: NODE.to_owned(), event: MomentKind::Disk, count };
        When::On { moment, delay: 0.ms() }
    }
}

fn calls(random: &mut Rng) -> DiskCalls {
    pick(random, &[DiskCalls::Write, DiskCalls::Sync, DiskCalls::Names])
}
