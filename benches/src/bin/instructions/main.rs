//! What do a read, a tag, a delivery and a join cost in instructions?
//!
//! Counted by callgrind, so that a busy machine changes nothing: two runs of one build give the same
//! numbers. Another compiler gives others. Left out is the kernel, and with it reading and writing.

mod cases;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use forebay::wire_log::Protocol::{self, Flv, Rtmp};
use forebay_benches::callgrind;
use forebay_benches::measured::{measured, unmeasured};
use serde_json::json;

use cases::Done;

/// Two counts of one build may differ by as much.
const REPEAT_MAX: f64 = 0.001;

const TEACHING: &str = "\
Each case runs in a process of its own under valgrind, 20 to 50 times slower than alone; all of them
take about a minute. The lines `measured NAME VALUE` are for `cargo ci budgets`.

Where do the instructions go? With a build that has symbols:
  valgrind --tool=callgrind '--toggle-collect=*counted_section*' \\
    target/release/instructions --case deliver_rtmp_1000
  callgrind_annotate --inclusive=yes callgrind.out.*";

/// Counts instructions per tag parsed, published, encoded, delivered, and per join.
#[derive(Parser)]
#[command(after_help = TEACHING)]
struct Args {
    /// Only figures whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Counts everything twice, and fails where the counts differ by over 0.1 %.
    #[arg(long)]
    twice: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Only does a case's work: what runs under callgrind.
    #[arg(long, value_name = "CASE")]
    case: Option<String>,
}

/// One figure of a budget.
struct Figure {
    name: &'static str,
    unit: &'static str,
    of: Of,
}

/// How a figure comes from cases.
enum Of {
    PerUnit(&'static str),
    PerKib(&'static str),
    /// What the first has over the second, per unit.
    Beyond(&'static str, &'static str),
    Ratio(&'static str, &'static str),
}

const FIGURES: &[Figure] = &[
    figure("parse_per_tag_128", "tag", Of::PerUnit("parse_128")),
    figure("parse_per_tag_4096", "tag", Of::PerUnit("parse_4096")),
    figure("parse_per_tag_65536", "tag", Of::PerUnit("parse_65536")),
    figure("parse_per_kib_128", "KiB", Of::PerKib("parse_128")),
    figure("parse_per_kib_4096", "KiB", Of::PerKib("parse_4096")),
    figure("parse_per_kib_65536", "KiB", Of::PerKib("parse_65536")),
    figure("publish_per_tag", "tag, parse to hub", Of::PerUnit("publish")),
    figure("encode_rtmp_per_tag", "tag, into the log", Of::Beyond("publish_rtmp", "publish")),
    figure("encode_flv_per_tag", "tag, into the log", Of::Beyond("publish_flv", "publish")),
    figure("deliver_rtmp", "tag and viewer, tag by tag", Of::PerUnit("deliver_rtmp_10")),
    figure("deliver_flv", "tag and viewer, tag by tag", Of::PerUnit("deliver_flv_10")),
    figure("deliver_rtmp_350ms", "tag and viewer", Of::PerUnit("deliver_rtmp_10_350ms")),
    figure("deliver_flv_350ms", "tag and viewer", Of::PerUnit("deliver_flv_10_350ms")),
    figure("join_rtmp", "join, first batch of a GOP of 2 s", Of::PerUnit("join_rtmp")),
    figure("join_flv", "join, first batch of a GOP of 2 s", Of::PerUnit("join_flv")),
    figure("segment_per_part", "part of 200 ms", Of::PerUnit("segment")),
    figure("segment_per_kib", "KiB", Of::PerKib("segment")),
    figure("record_per_tag", "tag", Of::PerUnit("record")),
    figure("delivery_1000_over_10", "1", Of::Ratio("deliver_rtmp_1000", "deliver_rtmp_10")),
];

const fn figure(name: &'static str, unit: &'static str, of: Of) -> Figure {
    Figure { name, unit, of }
}

fn run(case: &str) -> Option<anyhow::Result<Done>> {
    Some(match case {
        "parse_128" => cases::parse(128),
        "parse_4096" => cases::parse(4096),
        "parse_65536" => cases::parse(65536),
        "publish" => cases::publish(None),
        "publish_rtmp" => cases::publish(Some(Rtmp)),
        "publish_flv" => cases::publish(Some(Flv)),
        "segment" => cases::segment(),
        "record" => cases::record(),
        "join_rtmp" => cases::join(Rtmp),
        "join_flv" => cases::join(Flv),
        _ => return deliver(case),
    })
}

fn deliver(case: &str) -> Option<anyhow::Result<Done>> {
    let (protocol, viewers, tick_ms): (Protocol, _, _) = match case {
        "deliver_rtmp_10" => (Rtmp, 10, 0),
        "deliver_flv_10" => (Flv, 10, 0),
        "deliver_rtmp_10_350ms" => (Rtmp, 10, 350),
        "deliver_flv_10_350ms" => (Flv, 10, 350),
        "deliver_rtmp_1000" => (Rtmp, 1000, 0),
        _ => return None,
    };
    Some(cases::deliver(protocol, viewers, tick_ms))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        let done = run(case).with_context(|| format!("there is no case {case}"))??;
        println!("{} {}", done.units, done.bytes);
        return Ok(());
    }
    let wanted: Vec<_> = FIGURES.iter().filter(|figure| figure.name.contains(&args.only)).collect();
    if let Err(reason) = callgrind::available() {
        wanted
            .iter()
            .for_each(|figure| unmeasured(&format!("instructions.{}", figure.name), &reason));
        return Ok(());
    }
    let mut counts = Counts { known: BTreeMap::new(), twice: args.twice };
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(["what", "instructions", "per"]);
    let mut rows = Vec::new();
    for figure in wanted {
        let value = counts.value(&figure.of)?;
        table.add_row([figure.name, &format!("{value:.2}"), figure.unit]);
        rows.push((figure.name, value));
    }
    table
        .column_mut(1)
        .into_iter()
        .for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    match args.json {
        true => println!("{:#}", json!(rows.iter().copied().collect::<BTreeMap<_, _>>())),
        false => println!("{table}"),
    }
    for (name, value) in rows {
        measured(&format!("instructions.{name}"), (value * 100.0).round() / 100.0);
    }
    Ok(())
}

/// Cases counted so far: instructions, and what was done.
struct Counts {
    known: BTreeMap<&'static str, (f64, Done)>,
    twice: bool,
}

impl Counts {
    fn value(&mut self, of: &Of) -> anyhow::Result<f64> {
        Ok(match *of {
            Of::PerUnit(case) => self.per_unit(case)?,
            Of::PerKib(case) => {
                let (instructions, done) = self.count(case)?;
                *instructions * 1024.0 / done.bytes as f64
            }
            Of::Beyond(case, less) => self.per_unit(case)? - self.per_unit(less)?,
            Of::Ratio(case, over) => self.per_unit(case)? / self.per_unit(over)?,
        })
    }

    fn per_unit(&mut self, case: &'static str) -> anyhow::Result<f64> {
        let (instructions, done) = self.count(case)?;
        Ok(*instructions / done.units as f64)
    }

    fn count(&mut self, case: &'static str) -> anyhow::Result<&(f64, Done)> {
        if !self.known.contains_key(case) {
            let (instructions, done) = count(case)?;
            if self.twice {
                let again = count(case)?.0;
                let difference = (again - instructions).abs() / instructions;
                ensure!(
                    difference <= REPEAT_MAX,
                    "{case}: {instructions} and {again} instructions"
                );
            }
            self.known.insert(case, (instructions, done));
        }
        Ok(&self.known[case])
    }
}

fn count(case: &str) -> anyhow::Result<(f64, Done)> {
    let count = callgrind::count(&["--case", case])?;
    let mut numbers = count.output.split_whitespace().map(str::parse);
    let (Some(Ok(units)), Some(Ok(bytes))) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("{case} said {:?}", count.output);
    };
    Ok((count.instructions as f64, Done { units, bytes }))
}
