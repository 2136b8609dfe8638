//! Mutant: a mistake that somebody could make in the core, as a patch, and by what it has to die.

use crate::invariant;
use crate::scenario::{self, Scenario};

/// A mistake, as `sim/mutants/README.md` says.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The name of its patch.
    pub name: String,
    /// What the mutated server does.
    pub what: String,
    /// Names of the invariants that are a right reason to die by, the expected one first.
    pub kills: Vec<&'static str>,
    /// Scenarios that show it, the quickest first.
    pub scenarios: Vec<&'static Scenario>,
    /// The files it changes, from the root of the workspace.
    pub files: Vec<String>,
}

/// Why a patch is none of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MutantError {
    /// A line of the header is missing.
    #[error("there is no line `# {field}:` in front of the diff")]
    NoField {
        /// What it says.
        field: &'static str,
    },
    /// Something that must hold, and that nobody knows.
    #[error("`{name}` is no invariant")]
    UnknownInvariant {
        /// Its name.
        name: String,
    },
    /// A scenario that nobody knows.
    #[error("{reason}")]
    UnknownScenario {
        /// What there is.
        reason: String,
    },
    /// No file is changed.
    #[error("the patch changes no file")]
    NoFile,
}

impl Mutant {
    /// Reads the header of a patch.
    ///
    /// # Errors
    ///
    /// If a line is missing, or names what there is not.
    pub fn parse(name: &str, patch: &str) -> Result<Self, MutantError> {
        let kills = list(field(patch, "kills")?).map(|entry| {
            // The number in front is for people.
            let name = entry.rsplit(' ').next().unwrap_or_default();
            invariant::find(name)
                .ok_or_else(|| MutantError::UnknownInvariant { name: name.to_owned() })
        });
        let scenarios = list(field(patch, "where")?).map(|name| {
            scenario::find(name).map_err(|reason| MutantError::UnknownScenario { reason })
        });
        let files: Vec<_> = patch.lines().filter_map(|line| line.strip_prefix("+++ b/")).collect();
        if files.is_empty() {
            return Err(MutantError::NoFile);
        }
        Ok(Self {
            name: name.to_owned(),
            what: field(patch, "what")?.to_owned(),
            kills: kills.collect::<Result<_, _>>()?,
            scenarios: scenarios.collect::<Result<_, _>>()?,
            files: files.into_iter().map(str::to_owned).collect(),
        })
    }
}

fn field<'a>(patch: &'a str, field: &'static str) -> Result<&'a str, MutantError> {
    let header = patch.lines().take_while(|line| line.starts_with('#'));
    let of_field = |line: &'a str| {
        line.strip_prefix("# ")?.strip_prefix(field)?.strip_prefix(':').map(str::trim)
    };
    let value = header.filter_map(of_field).find(|value| !value.is_empty());
    value.ok_or(MutantError::NoField { field })
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{Mutant, MutantError};

    const DIFF: &str = "diff --git a/core/src/hub.rs b/core/src/hub.rs\n\
        --- a/core/src/hub.rs\n+++ b/core/src/hub.rs\n@@ -1 +1 @@\n-a\n+# where: b\n";

    fn parse(header: &str) -> Result<Mutant, MutantError> {
        Mutant::parse("late", &format!("{header}{DIFF}"))
    }

    #[test]
    fn header_says_by_what_and_where_a_mutant_dies() {
        let header = "# what:  a lag is late\n# kills: H6 every_gap_is_told, I5 \
            publisher_never_waits_for_a_subscriber\n# where: tunnel, everything\n";
        let mutant = parse(header).expect("it is whole");
        assert_eq!(mutant.what, "a lag is late");
        assert_eq!(mutant.kills, ["every_gap_is_told", "publisher_never_waits_for_a_subscriber"]);
        let scenarios: Vec<_> = mutant.scenarios.iter().map(|scenario| scenario.name).collect();
        assert_eq!(scenarios, ["tunnel", "everything"]);
        assert_eq!(mutant.files, ["core/src/hub.rs"]);
    }

    #[test]
    fn header_without_a_line_is_refused() {
        let error = parse("# what: a\n# kills: H6 every_gap_is_told\n").err();
        assert_eq!(error, Some(MutantError::NoField { field: "where" }));
        assert_eq!(parse("").err(), Some(MutantError::NoField { field: "kills" }));
    }

    #[test]
    fn unknown_names_are_refused() {
        let header = "# what: a\n# kills: H6 every_gap_is_sold\n# where: tunnel\n";
        let name = "every_gap_is_sold".to_owned();
        assert_eq!(parse(header).err(), Some(MutantError::UnknownInvariant { name }));
        let header = "# what: a\n# kills: H6 every_gap_is_told\n# where: funnel\n";
        assert!(matches!(parse(header), Err(MutantError::UnknownScenario { .. })));
    }

    #[test]
    fn every_mutant_of_ours_has_a_header() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/mutants");
        for file in std::fs::read_dir(folder).expect("the folder is there") {
            let path = file.expect("it can be listed").path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                let text = std::fs::read_to_string(&path).expect("it can be read");
                let mutant = Mutant::parse("ours", &text);
                assert!(mutant.is_ok(), "{}: {:?}", path.display(), mutant.err());
            }
        }
    }
}
