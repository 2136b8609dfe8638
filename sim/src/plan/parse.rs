//! Text to plan.

/// Where a text is no plan: line and column, from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {reason}")]
pub struct PlanError {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What was expected, and what was there.
    pub reason: String,
}
