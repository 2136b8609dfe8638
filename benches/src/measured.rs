//! What a program with a budget prints for `cargo ci budgets`, beside what it shows people.

/// A figure, as the line that `cargo ci budgets` looks for.
pub fn measured(name: &str, value: f64) {
    println!("measured {name} {value}");
}

/// A figure that cannot be had on this machine, and why.
pub fn unmeasured(name: &str, reason: &str) {
    println!("unmeasured {name} {reason}");
}
