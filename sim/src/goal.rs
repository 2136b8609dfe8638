//! Goal: a state that some run of a campaign has to reach before its silence means anything. The
//! numbers are those of PROPERTIES §3.

mod archive;
mod faults;
mod hls;
mod relay;
mod viewing;

use std::collections::BTreeSet;

use crate::invariant::Judged;
use crate::trace::What;

/// A state to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Its number.
    pub number: u32,
    /// What is reached.
    pub name: &'static str,
    /// Numbers of the invariants that mean nothing without it; a letter means all of its section.
    pub makes: &'static [&'static str],
    /// Whether a run reached it.
    pub reached: fn(&Judged<'_>) -> bool,
}

/// The names of the goals that a run reached.
pub fn reached(run: &Judged<'_>) -> BTreeSet<&'static str> {
    let told = told(run);
    let is_reached = |goal: &&Goal| told.contains(goal.name) || (goal.reached)(run);
    ALL.iter().filter(is_reached).map(|goal| goal.name).collect()
}

/// What only the inside of a node or a peer can see comes as an event.
fn told(run: &Judged<'_>) -> BTreeSet<&'static str> {
    let goals = run.trace.events.iter().filter_map(|event| match event.what {
        What::Goal(name) => Some(name),
        _ => None,
    });
    goals.collect()
}

/// Not to be seen in a trace: it is reached when an event says so.
fn only_told(_: &Judged<'_>) -> bool {
    false
}

const fn row(
    number: u32,
    name: &'static str,
    makes: &'static [&'static str],
    reached: fn(&Judged<'_>) -> bool,
) -> Goal {
    Goal { number, name, makes, reached }
}

/// The goals of ingest, decodability, fan-out, memory and lifecycle. Those between 30 and 56 come
/// with the consumers and the coordinator.
#[rustfmt::skip]
pub static ALL: &[Goal] = &[
    row(1, "tag_cut_in_header", &["I1", "I2"], only_told),
    row(2, "tag_cut_in_extended_timestamp", &["I3"], only_told),
    row(3, "timestamp_wrapped_24", &["I3", "H8"], viewing::wrapped_24),
    row(4, "timestamp_wrapped_32", &["I3", "H8"], viewing::wrapped_32),
    row(5, "chunks_interleaved", &["I4"], only_told),
    row(6, "chunk_size_changed_mid_message", &["I1"], only_told),
    row(7, "window_blocked_publisher", &["I9"], only_told),
    row(8, "publisher_frozen_viewers_waiting", &["I11", "H10"], viewing::publisher_frozen),
    row(9, "joined_between_header_and_keyframe", &["G4", "G5", "G7", "H5"], viewing::joined_behind_header),
    row(10, "joined_on_the_keyframe", &["G7", "H5"], viewing::joined_on_keyframe),
    row(11, "joined_during_endless_gop", &["G8"], viewing::joined_endless_gop),
    row(12, "header_changed_while_lagging", &["G5"], viewing::header_in_gap),
    row(13, "lag_started_on_keyframe", &["G1", "G2"], viewing::gap_from_keyframe),
    row(14, "lag_ended_on_last_tag_of_gop", &["G3"], viewing::gap_to_keyframe),
    row(15, "two_lags_in_one_gop", &["G2", "H6"], viewing::two_gaps_in_gop),
    row(16, "lag_longer_than_ring", &["H4", "H6"], viewing::gap_over_ring),
    row(17, "lost_audio_only", &["G3", "H9"], viewing::lost_audio_only),
    row(18, "lost_disposable_only", &["G3", "H9"], viewing::lost_disposable_only),
    row(19, "viewer_recovered", &["H9", "H15"], viewing::recovered),
    row(20, "viewer_evicted", &["H11"], viewing::evicted),
    row(21, "healthy_beside_stuck", &["H12", "H13"], viewing::healthy_beside_stuck),
    row(22, "egress_saturated", &["H14"], faults::egress_saturated),
    row(23, "crowd_on_one_gop", &["M4", "H16"], viewing::crowd),
    row(24, "left_mid_snapshot", &["H18", "M2"], viewing::left_mid_snapshot),
    row(25, "republished_with_viewers_waiting", &["H19", "H10"], viewing::republished),
    row(26, "republished_with_other_codec", &["H19", "G5"], viewing::republished_otherwise),
    // That it recovers is what M6 asks.
    row(27, "pool_at_limit", &["M6"], only_told),
    // Blocks of streams without pictures, of which the rings want less than half.
    row(28, "block_pinned_by_small_tag", &["M5"], only_told),
    // A block is never poisoned: without `unsafe` nobody reads what was not received. What is meant
    // is a wire log's block that a viewer held while it lost tags, and that is written to again.
    row(29, "held_block_returned_to_use", &["M3"], only_told),
    row(30, "segment_fetched_after_removal", &["S1", "S4", "S5"], hls::after_removal),
    row(31, "fetch_raced_segment_end", &["S11"], hls::raced_end),
    row(32, "segment_without_keyframe_in_time", &["S3", "S6"], hls::no_keyframe_in_time),
    row(33, "discontinuity_slid_out", &["S8"], hls::slid_out),
    // 34, a crash between a segment and its playlist: nothing of HLS is on a disk, and the two
    // appear at once.
    row(35, "blocking_reload_waited", &["S12"], hls::reload_waited),
    row(36, "crash_between_write_and_sync", &["A1", "A2"], archive::crash_before_sync),
    row(37, "crash_between_sync_and_rename", &["A4"], archive::crash_before_rename),
    row(38, "crash_during_recovery", &["A3"], archive::crash_in_recovery),
    row(39, "disk_full_then_free", &["A6", "A7"], archive::full_then_free),
    row(40, "rotated_on_a_huge_gop", &["A5"], archive::huge_gop),
    row(41, "relay_cut_inside_chunk", &["R1", "R2"], relay::cut_inside_chunk),
    row(42, "relay_cut_inside_header_send", &["R1", "R2"], relay::cut_inside_headers),
    row(43, "relay_at_backoff_cap", &["R3", "R4"], relay::at_cap),
    // 44 to 56: edges, coordinator, jobs.
    row(57, "drained_under_load", &["L1"], faults::drained_under_load),
    row(58, "task_cancelled_holding_a_block", &["M2", "L3"], only_told),
    row(59, "limit_refused_a_peer", &["L7"], faults::refused_at_limit),
    row(60, "three_faults_at_once", &["I", "G", "H", "M", "L"], faults::three_at_once),
    row(61, "fault_on_keyframe", &["G"], faults::on_keyframe),
    row(62, "quiet_phase_from_worst", &["L"], faults::quiet_from_worst),
];
