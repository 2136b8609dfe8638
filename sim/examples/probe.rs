//! probe
fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let plan: forebay_sim::plan::Plan = text.parse().unwrap();
    let run = forebay_sim::run::run(&plan).unwrap();
    if std::env::args().nth(2).is_none() {
    for e in &run.trace.events { println!("{}", run.trace.line(e)); } }
    eprintln!("{} events, cost {:?}, speed {:.0}, digest {:016x}", run.trace.events.len(), run.cost, run.speed(), run.trace.digest());
}
