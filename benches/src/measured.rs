//! What a program measured, as `cargo ci budgets` reads it.

/// Prints one measured value. `name` is `group.name`, as in `ci/budgets.toml`.
pub fn measured(name: &str, value: f64) {
    println!("measured {name} {value}");
}

/// Says that a value cannot be measured here, and why.
pub fn unmeasured(name: &str, reason: &str) {
    println!("unmeasured {name} {reason}");
}
