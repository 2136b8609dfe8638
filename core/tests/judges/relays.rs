//! Relays to servers that are killed and restarted: nginx with its RTMP module, and a second server
//! of ours. What they were sent in each of their lives decodes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are processes that talk over sockets"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::programs::{POLL, POLLS_MAX, Program, Server};
use super::{ffmpeg, scratch};

/// Lives of a target in one stream.
const LIVES: usize = 20;

/// Bytes of a recording after which its target is killed: several pictures, whose GOPs last a second.
const ENOUGH: u64 = 20_000;

const PAUSES: &str = "[relays]\nbackoff_ms_min = 10\nbackoff_ms_max = 50\n";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that relays a recorded stream to each of these.
fn source(name: &str, targets: &[String]) -> Server {
    let config = scratch(&format!("relay-{name}.toml"));
    let relay = |url: &String| format!("[[relay]]\nstream = \"live/*\"\nurl = \"{url}\"\n");
    let relays: String = targets.iter().map(relay).collect();
    std::fs::write(&config, format!("{PAUSES}{relays}")).unwrap();
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/flv/obs-360p30-base.flv");
    Server::start(&format!("--config {} --replay {recording}", config.display()))
}

/// Waits until a file has so many bytes.
#[track_caller]
fn wait_for(file: impl Fn() -> Option<PathBuf>, len: u64) -> PathBuf {
    for _ in 0..POLLS_MAX {
        if let Some(file) = file()
            && file.metadata().is_ok_and(|metadata| metadata.len() >= len)
        {
            return file;
        }
        std::thread::sleep(POLL / 5);
    }
    panic!("nothing was recorded");
}

/// All tags that are whole: whoever is killed leaves half a tag behind.
fn whole_tags(flv: &[u8]) -> usize {
    let mut end = 13;
    while let Some(header) = flv.get(end..end + 11) {
        let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if flv.len() < end + 11 + len + 4 {
            break;
        }
        end += 11 + len + 4;
    }
    end
}

/// The recording decodes without a word.
#[track_caller]
fn assert_decodes(file: &Path) {
    let mut flv = std::fs::read(file).unwrap();
    flv.truncate(whole_tags(&flv));
    std::fs::write(file, flv).unwrap();
    let input = format!("-nostdin -v error -xerror -i {}", file.display());
    let output = "-enc_time_base:v 1:1000 -progress pipe:1 -f null -";
    Program::start(&ffmpeg("obs"), &format!("{input} {output}")).finish().assert_decoded(1);
}

fn only_file(folder: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|path| path.extension().is_some_and(|extension| extension == "flv"))
}

#[test]
#[ignore = "needs nginx-rtmp, ffmpeg: cargo ci judges"]
fn nginx_is_killed_twenty_times_and_all_it_recorded_decodes() {
    let port = free_port();
    let dead = format!("rtmp://127.0.0.1:{}/app", free_port());
    let server = source("nginx", &[format!("rtmp://127.0.0.1:{port}/app"), dead]);
    for life in 0..LIVES {
        let folder = scratch(&format!("nginx-{life}"));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let user = if is_root() { "user root;" } else { "" };
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n{user}\ndaemon off;\n\
             master_process off;\npid {at}/pid;\nerror_log stderr error;\nevents {{}}\n\
             rtmp {{ server {{ listen 127.0.0.1:{port}; application app {{ live on; record all; \
             record_path {at}; record_unique on; }} }} }}\n"
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let nginx = Program::start("nginx", &format!("-e stderr -p {at} -c {at}/nginx.conf"));
        let recording = wait_for(|| only_file(&folder), ENOUGH);
        nginx.kill();
        assert_decodes(&recording);
    }
    server.wait_until("live/obs", |stream| {
        let relays = &stream["relays"];
        // The other one never lived, and is waited for less and less.
        relays[0]["attempts"].as_u64() >= Some(LIVES as u64)
            && relays[0]["sent_tags"].as_u64() > Some(0)
            && relays[1]["sent_tags"] == 0
    });
}

fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output().unwrap();
    id.stdout.starts_with(b"0")
}

#[test]
#[ignore = "needs ffmpeg: cargo ci judges"]
fn a_second_forebay_is_killed_twenty_times_and_all_it_played_decodes() {
    let [rtmp, http] =
        [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let _server = source("forebay", &[format!("rtmp://{rtmp}/live")]);
    for life in 0..LIVES {
        let target = Server::start_at(&rtmp.to_string(), &http.to_string(), "");
        let mut viewer = TcpStream::connect(http).unwrap();
        viewer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(viewer, "GET /live/obs.flv HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut response = Vec::new();
        let mut some = [0; 4096];
        while (response.len() as u64) < ENOUGH {
            let len = viewer.read(&mut some).unwrap();
            assert!(len > 0, "{}", String::from_utf8_lossy(&response));
            response.extend(&some[..len]);
        }
        drop(target);
        let head_len = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let file = scratch(&format!("relayed-{life}.flv"));
        std::fs::write(&file, &response[head_len..]).unwrap();
        assert_decodes(&file);
    }
}
