//! Chromium without a window, told what to do over a pipe (`--remote-debugging-pipe`): messages of
//! the DevTools protocol, JSON, each ended by a zero byte.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is a process that is told what to do, and waited for"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::scratch;

const POLL: Duration = Duration::from_millis(50);

/// How many polls anything may take: a minute.
const POLLS_MAX: usize = 1200;

const ARGUMENTS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --disable-dev-shm-usage --mute-audio --autoplay-policy=no-user-gesture-required \
    --window-size=1280,860 --remote-debugging-pipe about:blank";

/// A browser with one page, and a profile that nothing was ever done with.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Value,
    last_id: u64,
    /// What pages said on their consoles and what was thrown: nothing, if all is well.
    pub(crate) complaints: Vec<Value>,
}

impl Browser {
    pub(crate) fn start(name: &str) -> Self {
        let profile = scratch(&format!("chromium-{name}"));
        drop(std::fs::remove_dir_all(&profile));
        let chromium = std::env::var("FOREBAY_CHROMIUM").ok().filter(|path| !path.is_empty());
        // It reads from descriptor 3 and writes to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(chromium.as_deref().unwrap_or("chromium"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(ARGUMENTS.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (commands, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Ok(message) = message else { return };
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, complaints) = (Value::Null, Vec::new());
        let mut browser = Self { child, commands, messages, session, last_id: 0, complaints };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// A command of the DevTools protocol, and its result.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        write!(self.commands, "{message}\0").unwrap();
        loop {
            let answer = self.messages.recv_timeout(POLL * POLLS_MAX as u32).unwrap_or_else(|_| {
                panic!("chromium does not answer {method}; `cargo ci judges` installs it")
            });
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            if let "Runtime.exceptionThrown" | "Log.entryAdded" =
                answer["method"].as_str().unwrap_or("")
            {
                self.complaints.push(answer["params"].clone());
            }
        }
    }

    /// A script that every page runs before its own.
    pub(crate) fn prepare(&mut self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
    }

    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    pub(crate) fn prefer(&mut self, color_scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": color_scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// As a person presses it.
    pub(crate) fn press(&mut self, key: &str) {
        let code = format!("Key{}", key.to_uppercase());
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": code, "text": if kind == "keyDown" { key } else { "" }});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// What an expression in the page is.
    #[track_caller]
    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let question =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", question);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) {
        for _ in 0..POLLS_MAX {
            if self.ask(expression) == true {
                return;
            }
            sleep(POLL);
        }
        self.picture(&scratch("never.png"));
        let text = self.ask("document.body.innerText");
        panic!("it never came so far: {expression}\n{text}\n{:?}", self.complaints);
    }

    /// What a person would see, as a PNG.
    pub(crate) fn picture(&mut self, file: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = picture["data"].as_str().unwrap();
        std::fs::write(file, base64::engine::general_purpose::STANDARD.decode(data).unwrap())
            .unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
