//! The rows of the conformance checklist, one file per section, one test or more per row.

mod enhanced;
mod flv_files;
