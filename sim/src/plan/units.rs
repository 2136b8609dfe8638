//! Numbers with units, exactly: what is written is read back to the last bit.

/// A unit: its name, what it is worth, and the step below which a value is better told in a
/// smaller unit.
pub(super) type Unit = (&'static str, u64, u64);

/// In bits per second.
pub(super) const RATES: [Unit; 4] = [
    ("Gbit/s", 1_000_000_000, 1_000_000),
    ("Mbit/s", 1_000_000, 1_000),
    ("kbit/s", 1_000, 1),
    ("bit/s", 1, 1),
];

/// In bytes.
pub(super) const LENGTHS: [Unit; 3] =
    [("MiB", 1 << 20, 1 << 20), ("KiB", 1 << 10, 1 << 10), ("B", 1, 1)];

/// In microseconds.
pub(super) const SPANS: [Unit; 2] = [("s", SECOND, 1_000), ("ms", 1_000, 1)];

/// In microseconds.
pub(super) const SECOND: u64 = 1_000_000;

/// What the text can say. A month is longer than any run, and far from any overflow.
pub(super) const MICROS_MAX: u64 = 30 * 24 * 3_600 * SECOND;
pub(super) const RATE_MAX: u64 = 1_000_000_000_000;
pub(super) const LENGTH_MAX: u64 = 1 << 40;

/// `3 Mbit/s`: in the largest unit that tells the value with at most three decimals.
pub(super) fn amount(value: u64, units: &[Unit]) -> String {
    let fits = |(_, worth, step): &&Unit| value >= *worth && value.is_multiple_of(*step);
    let unit = units.iter().find(fits).or(units.last());
    unit.map_or_else(String::new, |&(name, worth, _)| {
        format!("{} {name}", decimal(value, worth, 0))
    })
}

/// Seconds with three decimals, and with more only if it takes more.
pub(super) fn seconds(micros: u64) -> String {
    decimal(micros, SECOND, 3)
}

/// `value / unit`, for a unit that is a power of ten or divides the value.
fn decimal(value: u64, unit: u64, decimals_min: usize) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", value % unit);
    let decimals = fraction.trim_end_matches('0').len().max(decimals_min.min(digits));
    let point = if decimals == 0 { "" } else { "." };
    format!("{}{point}{}", value / unit, &fraction[..decimals])
}

/// `number * unit`, if that is a whole number: `2.5` Mbit/s, but not `2.5` B.
pub(super) fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| {
        let plain =
            !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse::<u128>().ok()).flatten()
    };
    let (whole_value, numerator) = (digits(whole)?, digits(fraction)?);
    let denominator = 10_u128.pow(fraction.len() as u32);
    let numerator = numerator * u128::from(unit);
    if !numerator.is_multiple_of(denominator) {
        return None;
    }
    u64::try_from(whole_value * u128::from(unit) + numerator / denominator).ok()
}
