//! ServerCodecs: which FourCCs a server says it takes (ERTMP, Enhancing NetConnection connect).

use std::collections::BTreeSet;
use std::fmt;

use super::command::Command;
use crate::amf0::Value;

/// FourCCs that a list may have to be believed. There are a dozen of them in use.
const FOUR_CCS_MAX: usize = 64;

/// `CanDecode` and `CanForward` in a FourCC info map: of a codec that it only encodes a server has
/// no use for ours.
const TAKES: u32 = 0x01 | 0x04;

/// Which codecs behind a FourCC a server takes, by its answer to `connect`.
///
/// A server that lists none says nothing, and every codec is sent to it: so do the encoders, and
/// most servers that take HEVC do not say so. One that lists some is believed. Codecs of the legacy
/// headers (H.264, AAC) are never listed.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ServerCodecs {
    /// `None`: the server says nothing, or takes all of them.
    listed: Option<BTreeSet<[u8; 4]>>,
}

impl ServerCodecs {
    /// Whether the server takes this codec, as far as it says.
    pub fn takes(&self, four_cc: [u8; 4]) -> bool {
        self.listed.as_ref().is_none_or(|listed| listed.contains(&four_cc))
    }

    /// By the `_result` of a `connect`. The specification shows the properties in one object and some
    /// servers put them into the other.
    pub(super) fn of(result: &Command<'_>) -> Self {
        let mut listed = None::<BTreeSet<_>>;
        for four_ccs in
            [&result.object].into_iter().chain(result.arguments.first()).filter_map(four_ccs)
        {
            let listed = listed.get_or_insert_default();
            if four_ccs.len() > FOUR_CCS_MAX || four_ccs.contains(&b"*".as_slice()) {
                return Self::default();
            }
            listed.extend(
                four_ccs.into_iter().filter_map(|four_cc| <[u8; 4]>::try_from(four_cc).ok()),
            );
        }
        Self { listed }
    }
}

/// A server that lists these.
impl FromIterator<[u8; 4]> for ServerCodecs {
    fn from_iter<T: IntoIterator<Item = [u8; 4]>>(four_ccs: T) -> Self {
        Self { listed: Some(four_ccs.into_iter().collect()) }
    }
}

/// What one object lists: the maps where there are any, which are newer and say more than the list.
fn four_ccs<'a>(object: &'a Value<'_>) -> Option<Vec<&'a [u8]>> {
    let maps: Vec<_> = ["videoFourCcInfoMap", "audioFourCcInfoMap"]
        .into_iter()
        .filter_map(|key| object.get(key).and_then(Value::entries))
        .collect();
    if maps.is_empty() {
        let Value::StrictArray(list) = object.get("fourCcList")? else { return None };
        return Some(list.iter().filter_map(Value::as_bytes).collect());
    }
    let takes = |flags: &Value<'_>| flags.as_u32().is_some_and(|flags| flags & TAKES != 0);
    let entries = maps.into_iter().flatten();
    Some(entries.filter(|(_, flags)| takes(flags)).map(|(four_cc, _)| *four_cc).collect())
}

/// `av01, hvc1`; `all` for a server that says nothing.
impl fmt::Display for ServerCodecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(listed) = &self.listed else { return f.write_str("all") };
        let mut separator = "";
        for four_cc in listed {
            write!(f, "{separator}{}", four_cc.escape_ascii())?;
            separator = ", ";
        }
        if listed.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(object: Vec<(&'a [u8], Value<'a>)>) -> ServerCodecs {
        let ours = Command::result(1.0, Value::Object(object), Value::Null);
        let theirs = Command::result(1.0, Value::Null, ours.object.clone());
        assert_eq!(ServerCodecs::of(&ours), ServerCodecs::of(&theirs), "in either object");
        ServerCodecs::of(&ours)
    }

    fn list<'a>(four_ccs: &[&'a [u8]]) -> (&'static [u8], Value<'a>) {
        let values = four_ccs.iter().map(|four_cc| Value::String(four_cc)).collect();
        (b"fourCcList", Value::StrictArray(values))
    }

    fn map<'a>(key: &'static [u8], entries: &[(&'a [u8], f64)]) -> (&'static [u8], Value<'a>) {
        let entries = entries.iter().map(|&(four_cc, flags)| (four_cc, Value::Number(flags)));
        (key, Value::Object(entries.collect()))
    }

    #[test]
    fn er_7_what_a_server_lists_is_believed_and_silence_is_no_refusal() {
        let silent = answer(vec![(b"fmsVer".as_slice(), Value::String(b"FMS/3,5,7,7009"))]);
        assert!(silent.takes(*b"hvc1"));
        assert_eq!(silent.to_string(), "all");
        let some = answer(vec![list(&[b"av01", b"hvc1"])]);
        assert!(some.takes(*b"hvc1") && some.takes(*b"av01") && !some.takes(*b"vp09"));
        assert_eq!(some.to_string(), "av01, hvc1");
        assert!(answer(vec![list(&[b"av01", b"*"])]).takes(*b"vp09"));
        let none = answer(vec![list(&[b"HEVC video"])]);
        assert!(!none.takes(*b"hvc1"));
        assert_eq!(none.to_string(), "none");
    }

    #[test]
    fn er_7_the_maps_say_more_than_the_list_and_their_star_overrides() {
        let video = map(b"videoFourCcInfoMap", &[(b"hvc1", 1.0), (b"vp09", 2.0), (b"av01", 4.0)]);
        let audio = map(b"audioFourCcInfoMap", &[(b"Opus", 7.0)]);
        let codecs = answer(vec![list(&[b"vp09"]), video.clone(), audio.clone()]);
        assert!(codecs.takes(*b"hvc1") && codecs.takes(*b"av01") && codecs.takes(*b"Opus"));
        assert!(!codecs.takes(*b"vp09"), "it encodes it, and that is all it says");
        let any = map(b"audioFourCcInfoMap", &[(b"*", 4.0)]);
        assert!(answer(vec![video, any]).takes(*b"vp09"));
    }

    #[test]
    fn a_list_of_hundreds_is_not_believed() {
        let many: Vec<_> = (0..1000_u32).map(|n| n.to_be_bytes()).collect();
        let many: Vec<_> = many.iter().map(|four_cc| four_cc.as_slice()).collect();
        assert!(answer(vec![list(&many)]).takes(*b"hvc1"));
    }
}
