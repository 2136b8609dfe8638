//! Invariant: what must hold in every run, each with its reason. The numbers are those of
//! PROPERTIES §1; what cannot be judged from one run alone is in [`crate::differential`].

mod archive;
mod cast;
mod decodability;
mod fanout;
mod hls;
mod ingest;
mod judged;
mod lifecycle;
mod limits;
mod memory;
mod relay;
mod simulator;

use crate::time::SimTime;
use crate::trace::Who;
use crate::{differential, scenario};

pub use self::cast::{Cast, Part};
pub use self::judged::Judged;
pub use self::limits::{Limits, RelayBounds};

/// Something that must hold in every run.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Its number, as in `H1`.
    pub id: &'static str,
    /// What must hold, as a name.
    pub name: &'static str,
    /// Why anybody cares.
    pub why: &'static str,
    /// The goal without which its silence means nothing; `None`: every run exercises it.
    pub goal: Option<&'static str>,
    /// Finds the first place where it does not hold.
    pub judge: fn(&Judged<'_>) -> Verdict,
}

/// `None`: it holds.
pub type Verdict = Option<Finding>;

/// Where an invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Index of the event in the trace.
    pub event: usize,
    /// To whom it happened.
    pub who: Who,
    /// What kind of event it is, without numbers: the same before and after shrinking.
    pub kind: String,
    /// What was seen, in one line, with numbers.
    pub saw: String,
}

/// A finding with its invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of what does not hold.
    pub invariant: &'static str,
    /// When.
    pub at: SimTime,
    /// Index of the event in the trace.
    pub event: usize,
    /// To whom it happened.
    pub who: Who,
    /// What was seen, in one line, with numbers.
    pub saw: String,
    /// What kind of event it is, without numbers: the same before and after shrinking (D8).
    pub kind: String,
}

impl Finding {
    pub(crate) fn new(
        event: usize,
        who: Who,
        kind: impl Into<String>,
        saw: impl Into<String>,
    ) -> Self {
        Self { event, who, kind: kind.into(), saw: saw.into() }
    }
}

/// The first of them in the trace.
fn first(findings: impl IntoIterator<Item = Finding>) -> Verdict {
    findings.into_iter().min_by_key(|finding| finding.event)
}

/// The first violation of each invariant, in order of time.
pub fn judge(run: &Judged<'_>) -> Vec<Violation> {
    let broken = ALL.iter().filter_map(|invariant| {
        let finding = (invariant.judge)(run)?;
        Some(run.violation(invariant.name, finding))
    });
    let mut violations: Vec<_> = broken.collect();
    violations.sort_by_key(|violation| (violation.event, violation.invariant));
    violations
}

/// The names of all that can be violated: by one run, by two, by what a scenario asks itself.
pub fn names() -> impl Iterator<Item = &'static str> {
    let of_one_run = ALL.iter().map(|invariant| invariant.name);
    let of_two_runs = differential::ALL.iter().map(|difference| difference.name);
    of_one_run.chain(of_two_runs).chain([scenario::ASKS])
}

/// The name, if something of that name can be violated.
pub fn find(name: &str) -> Option<&'static str> {
    names().find(|known| *known == name)
}

const fn row(
    id: &'static str,
    name: &'static str,
    goal: Option<&'static str>,
    judge: fn(&Judged<'_>) -> Verdict,
    why: &'static str,
) -> Invariant {
    Invariant { id, name, why, goal, judge }
}

/// All of them, in the order of PROPERTIES §1.
#[rustfmt::skip]
pub static ALL: &[Invariant] = &[
    // 1.1 Ingest. I2, I4, I5 and I6 compare two runs.
    row("I1", "ingest_matches_the_capture", Some("tag_cut_in_header"), ingest::matches_the_capture,
        "a parser that loses, invents or changes a tag does so for every viewer"),
    row("I3", "timestamps_are_reconstructed", Some("timestamp_wrapped_24"), ingest::timestamps,
        "a wrong delta is silent, and grows"),
    row("I7", "parser_memory_is_bounded", None, ingest::parser_memory,
        "anybody may connect"),
    row("I8", "half_open_connections_end", None, ingest::half_open,
        "silent peers must not fill the server"),
    row("I9", "acknowledgements_keep_flowing", Some("window_blocked_publisher"), ingest::acknowledgements,
        "an encoder that waits for an acknowledgement waits for ever"),
    row("I10", "refused_publish_leaves_no_trace", None, ingest::refused_publish,
        "whoever guesses a name must not disturb who owns it"),
    row("I11", "silent_publisher_ends", Some("publisher_frozen_viewers_waiting"), ingest::silent_publisher,
        "a dead encoder keeps its name, and its viewers stare at a still"),

    // 1.2 Decodability.
    row("G1", "first_video_is_a_keyframe", Some("lag_started_on_keyframe"), decodability::first_video,
        "a decoder that begins elsewhere shows garbage, or nothing"),
    row("G2", "reference_chain_is_complete", Some("two_lags_in_one_gop"), decodability::reference_chain,
        "a picture whose reference is missing spoils all until the next keyframe"),
    row("G3", "delivered_gop_is_a_prefix", Some("lag_ended_on_last_tag_of_gop"), decodability::gop_prefix,
        "a viewer that loses may lose an end, not a middle"),
    row("G4", "sequence_header_comes_first", Some("joined_between_header_and_keyframe"), decodability::header_first,
        "without it nothing can be decoded"),
    row("G5", "sequence_header_matches", Some("header_changed_while_lagging"), decodability::header_matches,
        "a decoder set up for other pictures shows garbage"),
    row("G6", "leading_pictures_are_skipped_on_entry", None, decodability::leading_pictures,
        "they refer to a GOP that a joiner does not have"),
    row("G7", "snapshot_is_a_suffix", Some("joined_on_the_keyframe"), decodability::snapshot,
        "more than the newest GOP is delay for ever, less is no picture"),
    row("G8", "gop_cache_is_bounded", Some("joined_during_endless_gop"), memory::gop_cache,
        "an encoder without keyframes must not fill the memory"),
    row("G9", "audio_only_needs_no_keyframe", None, decodability::audio_only,
        "radio has no keyframes to wait for"),
    row("G10", "metadata_is_current", None, decodability::metadata,
        "players size their windows by it"),

    // 1.3 Fan-out. H13 compares two runs.
    row("H1", "order_is_kept", None, fanout::order,
        "decoders take tags in order"),
    row("H2", "nothing_twice", None, fanout::nothing_twice,
        "a tag given twice is heard twice"),
    row("H3", "tags_are_untouched", None, fanout::untouched,
        "what is delivered is what was published"),
    row("H4", "tags_are_conserved", None, fanout::conserved,
        "a tag that is nowhere in the account is a loss nobody knows of"),
    row("H5", "join_has_no_seam", Some("joined_between_header_and_keyframe"), fanout::no_seam,
        "cache and live stream come from two places"),
    row("H6", "every_gap_is_told", Some("lag_longer_than_ring"), fanout::gaps_are_told,
        "operators see loss only if it is counted"),
    row("H7", "no_loss_without_pressure", None, fanout::pressure,
        "lossy means: when it must be"),
    row("H8", "dts_never_goes_back", Some("timestamp_wrapped_32"), fanout::dts,
        "players stop at time that goes back"),
    row("H9", "audio_and_video_stay_together", Some("viewer_recovered"), fanout::together,
        "sound before its picture is a black screen that talks"),
    row("H10", "end_is_seen_once", Some("republished_with_viewers_waiting"), fanout::end,
        "players that are not told wait for ever; players told too early leave"),
    row("H11", "stuck_viewer_is_let_go", Some("viewer_evicted"), fanout::stuck_viewer,
        "a socket nobody reads costs memory for ever"),
    row("H12", "a_healthy_viewer_loses_nothing", Some("healthy_beside_stuck"), fanout::healthy,
        "loss is for the slow"),
    row("H14", "saturation_is_shared", Some("egress_saturated"), fanout::saturation,
        "a full line must not starve whoever came last"),
    row("H15", "lag_heals", Some("viewer_recovered"), fanout::lag_heals,
        "a viewer that was slow once must not stay behind for ever"),
    row("H16", "first_picture_is_fast", Some("crowd_on_one_gop"), fanout::first_picture,
        "viewers leave black screens"),
    row("H17", "live_delay_is_bounded", None, fanout::live_delay,
        "live means now"),
    row("H18", "churn_leaves_nothing", Some("left_mid_snapshot"), memory::churn,
        "a leak per viewer is an outage per week"),
    row("H19", "republish_starts_clean", Some("republished_with_other_codec"), fanout::republish,
        "tags of two encoder runs do not decode together"),

    // 1.4 Memory. M4, M7, M8 and M9 are budgets.
    row("M1", "retained_bytes_are_bounded", None, memory::retained,
        "the sum of the limits is what an operator buys memory for"),
    row("M2", "pool_balances", Some("left_mid_snapshot"), memory::pool,
        "what is taken and not returned is leaked"),
    row("M3", "no_buffer_is_reused_while_held", Some("held_block_returned_to_use"), memory::reuse,
        "one viewer would see another stream's bytes"),
    row("M5", "small_tags_do_not_pin_large_blocks", Some("block_pinned_by_small_tag"), memory::pinned,
        "an hour of audio must not hold an hour of video's blocks"),
    row("M6", "an_empty_pool_is_survived", Some("pool_at_limit"), memory::empty_pool,
        "a full server must come back by itself"),

    // 1.5 HLS. S14 is a test of core: what is in a container is not in a trace.
    row("S1", "media_sequence_never_goes_back", Some("segment_fetched_after_removal"), hls::media_sequence,
        "players place what they have by it"),
    row("S2", "playlists_only_slide", None, hls::slides,
        "a player that read one version must not be told otherwise by the next"),
    row("S3", "target_duration_is_true", Some("segment_without_keyframe_in_time"), hls::target_duration,
        "players poll and buffer by it"),
    row("S4", "window_is_long_enough", Some("segment_fetched_after_removal"), hls::window,
        "who joins three segments from the end must find them"),
    row("S5", "listed_segments_can_be_fetched", Some("segment_fetched_after_removal"), hls::fetchable,
        "a playlist is a promise"),
    row("S6", "segments_start_with_a_keyframe", Some("segment_without_keyframe_in_time"), hls::keyframes,
        "players begin at any segment"),
    row("S7", "segments_tile_the_stream", None, hls::tiles,
        "what is lost between two segments nobody would miss but the viewers"),
    row("S8", "discontinuities_are_declared", Some("discontinuity_slid_out"), hls::discontinuities,
        "a decoder that is not told stops"),
    row("S9", "playlist_is_fresh", None, hls::fresh,
        "live means now"),
    row("S10", "endlist_is_final", None, hls::endlist,
        "players leave at the end"),
    row("S11", "no_half_segment_is_served", Some("fetch_raced_segment_end"), hls::whole,
        "caches keep what they were given first"),
    row("S12", "parts_join_into_segments", Some("blocking_reload_waited"), hls::parts,
        "players of parts and players of segments see one stream"),
    row("S13", "a_uri_means_one_thing", None, hls::one_meaning,
        "caches between us and players never ask again"),
    row("S15", "good_weather_never_stalls", None, hls::stalls,
        "nobody watches a wheel turn"),

    // 1.6 Archive. A6 compares two runs.
    row("A1", "archive_is_a_prefix", Some("crash_between_write_and_sync"), archive::prefix,
        "a recording with other pictures than were shown is worse than none"),
    row("A2", "synced_tags_survive", Some("crash_between_write_and_sync"), archive::survive,
        "durable is a promise"),
    row("A3", "recovery_is_idempotent", Some("crash_during_recovery"), archive::even,
        "whoever recovers may lose his power as well"),
    row("A4", "a_final_name_is_complete", Some("crash_between_sync_and_rename"), archive::complete,
        "whoever copies finished files looks at names alone"),
    row("A5", "rotation_loses_nothing", Some("rotated_on_a_huge_gop"), archive::rotation,
        "an evening is many files"),
    row("A7", "archive_backlog_is_bounded", Some("disk_full_then_free"), archive::backlog,
        "a disk that hangs must not fill the memory"),
    row("A8", "loss_window_is_bounded", None, archive::loss_window,
        "operators choose how much they may lose"),
    row("A9", "a_damaged_file_is_noticed", None, archive::damage,
        "disks forget, and archives are read years later"),

    // 1.7 Relay. R5 compares two runs; R6, R8 and R9 come with the edges.
    row("R1", "remote_sees_a_clean_session", Some("relay_cut_inside_chunk"), relay::clean,
        "a service's viewers see what the target was sent"),
    row("R2", "relay_resumes_at_a_keyframe", Some("relay_cut_inside_header_send"), relay::resumes,
        "a target knows nothing of the connection before"),
    row("R3", "backoff_is_polite", Some("relay_at_backoff_cap"), relay::polite,
        "a target that is in trouble is not helped by who knocks without end"),
    row("R4", "relay_returns", Some("relay_at_backoff_cap"), relay::returns,
        "nobody sits there to press a button"),
    row("R7", "relay_ends_with_its_stream", None, relay::ends,
        "a stream that is over must not look live elsewhere"),
    row("R10", "relay_state_is_true", None, relay::told,
        "operators believe what they are shown"),

    // 1.8 coordination, 1.9 jobs: their rows come here with what they judge.

    // 1.10 Lifecycle. L3 needs the runtime's counters.
    row("L1", "drain_is_gentle", Some("drained_under_load"), lifecycle::drain,
        "an update must not cut a sentence"),
    row("L2", "restart_serves_again", None, lifecycle::restart,
        "a crash costs seconds, not a night"),
    row("L4", "no_panic", None, lifecycle::no_panic,
        "a panic is an assumption of ours that was wrong"),
    row("L5", "logs_are_bounded", None, lifecycle::logs,
        "one bad peer must not fill the disk with words"),
    row("L6", "counters_tell_the_truth", None, lifecycle::counters,
        "operators see nothing else"),
    row("L7", "limits_refuse_politely", Some("limit_refused_a_peer"), lifecycle::refusals,
        "who is turned away wants to know why"),

    // 1.11 The simulator. The other rows are about two runs, or about campaigns.
    row("D4", "calm_runs_are_calm", None, simulator::calm,
        "what fails without faults is not robustness that is missing"),
    row("D7", "links_obey_physics", None, simulator::physics,
        "an invariant judged in an impossible world says nothing"),
];
