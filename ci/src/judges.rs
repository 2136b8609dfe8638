//! `judges`: programs we did not write read what we send, and send what we read.
//!
//! What is missing is installed where that can be done without asking: by apt-get for root on
//! Debian, and one newer FFmpeg from a Python wheel into `target/judges`, because Debian 12's
//! predates Enhanced RTMP. Whatever could not be had is named, is listed for the tests in
//! `FOREBAY_JUDGES_MISSING`, and is a failure when `CI=true`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{cargo, output, program, run as run_command, run_tests};
use crate::packages::install;
use crate::report::{Report, Verdict};
use crate::workspace::{find_program, in_ci};

const TESTS: &str = "core/tests/judges/main.rs";

/// A program whose opinion counts.
struct Judge {
    name: &'static str,
    probe: Probe,
    /// Debian's packages, separated by spaces.
    packages: &'static str,
    /// It adds something, but nothing rests on it.
    optional: bool,
}

/// How to find out whether a judge is there.
enum Probe {
    Program(&'static str),
    /// `gst-launch-1.0` and all of these GStreamer elements.
    Elements(&'static [&'static str]),
    /// A part of another program.
    File(&'static str),
    /// Python's own modules, which Debian packages one by one.
    Python(&'static str),
}

const JUDGES: &[Judge] = &[
    judge("ffmpeg", Probe::Program("ffmpeg"), "ffmpeg"),
    judge("ffprobe", Probe::Program("ffprobe"), "ffmpeg"),
    judge("rtmpdump", Probe::Program("rtmpdump"), "rtmpdump"),
    judge("flvmeta", Probe::Program("flvmeta"), "flvmeta"),
    judge(
        "gstreamer",
        Probe::Elements(&["flvmux", "rtmp2src", "rtmp2sink", "rtmpsink", "x264enc", "avdec_h264"]),
        "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
         gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav",
    ),
    judge("chromium", Probe::Program("chromium"), "chromium"),
    judge(
        "nginx-rtmp",
        Probe::File("/usr/lib/nginx/modules/ngx_rtmp_module.so"),
        "nginx-light libnginx-mod-rtmp",
    ),
    judge("python3", Probe::Python("ensurepip, venv"), "python3 python3-venv"),
    Judge { optional: true, ..judge("tshark", Probe::Program("tshark"), "tshark") },
];

const fn judge(name: &'static str, probe: Probe, packages: &'static str) -> Judge {
    Judge { name, probe, packages, optional: false }
}

/// The judge that comes from a Python wheel.
const FFMPEG_NEW: &str = "ffmpeg-new";
const WHEEL: &str = "imageio-ffmpeg";

/// Installs what is missing and can be had, then lets them judge.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    if !root.join(TESTS).exists() {
        return Ok(Verdict::Skipped(format!("{TESTS} is not there")));
    }
    let packages: Vec<_> = missing().iter().map(|judge| judge.packages).collect();
    install(&packages, report)?;
    let mut absent: Vec<(&str, bool)> = Vec::new();
    for judge in missing() {
        let Judge { name, packages, optional, .. } = judge;
        report.not_run(format!("{name}: apt-get install {packages}"));
        absent.push((name, *optional));
    }
    let mut tests = cargo("test -p forebay --test judges -- --ignored");
    if let Some(ffmpeg) = find_program("ffmpeg") {
        tests.env("FOREBAY_FFMPEG", ffmpeg);
    }
    match ffmpeg_new(root, report)? {
        Some(ffmpeg) => drop(tests.env("FOREBAY_FFMPEG_NEW", ffmpeg)),
        None => {
            report.not_run(format!("{FFMPEG_NEW}: pip install {WHEEL} (it knows Enhanced RTMP)"));
            absent.push((FFMPEG_NEW, false));
        }
    }
    let names: Vec<_> = absent.iter().map(|(name, _)| *name).collect();
    tests.env("FOREBAY_JUDGES_MISSING", names.join(","));
    report.summary(format!("{} judges", JUDGES.len() + 1 - names.len()));
    let passed = run_tests(tests, report)?;
    let needed: Vec<_> = absent.iter().filter(|(_, optional)| !optional).collect();
    needed.iter().for_each(|(name, _)| report.say(format!("{name} could not be installed")));
    Ok(Verdict::passed_if(passed && (needed.is_empty() || !in_ci())))
}

fn missing() -> Vec<&'static Judge> {
    JUDGES.iter().filter(|judge| !is_there(&judge.probe)).collect()
}

fn is_there(probe: &Probe) -> bool {
    match probe {
        Probe::Program(name) => find_program(name).is_some(),
        Probe::File(path) => Path::new(path).exists(),
        Probe::Elements(names) => {
            let element = |name: &&str| program("gst-inspect-1.0", &format!("--exists {name}"));
            find_program("gst-launch-1.0").is_some()
                && names.iter().all(|name| output(element(name)).is_some())
        }
        Probe::Python(modules) => {
            let mut python = program("python3", "-c");
            python.arg(format!("import {modules}"));
            output(python).is_some()
        }
    }
}

/// An FFmpeg that knows Enhanced RTMP: the installed one if it does, else the wheel's.
fn ffmpeg_new(root: &Path, report: &mut Report) -> Result<Option<PathBuf>> {
    if let Some(ffmpeg) = find_program("ffmpeg").filter(|ffmpeg| knows_enhanced_rtmp(ffmpeg)) {
        return Ok(Some(ffmpeg));
    }
    let venv = root.join("target/judges/venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        let mut create = program("python3", "-m venv");
        create.arg(&venv);
        if find_program("python3").is_none() || !run_command(create, report)? {
            return Ok(None);
        }
    }
    let wanted = || {
        let mut ask = program(&python, "-c");
        ask.arg("import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())");
        let path = PathBuf::from(output(ask)?.trim());
        knows_enhanced_rtmp(&path).then_some(path)
    };
    if let Some(path) = wanted() {
        return Ok(Some(path));
    }
    let pip = format!("-m pip install --quiet --disable-pip-version-check --upgrade {WHEEL}");
    run_command(program(&python, &pip), report)?;
    Ok(wanted())
}

fn knows_enhanced_rtmp(ffmpeg: &Path) -> bool {
    let help = output(program(ffmpeg, "-hide_banner -h protocol=rtmp"));
    help.is_some_and(|help| help.contains("-rtmp_enhanced_codecs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_is_not_there_is_noticed() {
        assert!(!is_there(&Probe::Program("no-such-program")));
        assert!(!is_there(&Probe::Elements(&["no_such_element"])));
        assert!(!is_there(&Probe::Python("no_such_module")));
        assert!(!is_there(&Probe::File("/no/such/module.so")));
        assert!(is_there(&Probe::Program("sh")));
    }

    #[test]
    fn a_program_that_is_no_ffmpeg_knows_nothing_of_enhanced_rtmp() {
        assert!(!knows_enhanced_rtmp(Path::new("true")));
        assert!(!knows_enhanced_rtmp(Path::new("no-such-program")));
    }
}
