//! A coordinator as a process, a participant that votes and then falls silent, and plain HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives it up.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// The binary, in a folder, without any configuration from the environment.
pub(crate) fn accordant(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accordant"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ACCORDANT_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a run of the binary came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs it to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    Ran::new(accordant(folder).args(arguments).output().unwrap())
}

/// Tries to serve on a free port, and expects a refusal.
pub(crate) fn refused(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = accordant(folder);
    command.args(["serve", "--unsafe-test-build", "--listen", "127.0.0.1:0"]);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if wait(&mut child).is_none() {
        child.kill().unwrap();
        let ran = Ran::new(child.wait_with_output().unwrap());
        panic!("it serves instead of refusing: {ran:?}");
    }
    Ran::new(child.wait_with_output().unwrap())
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    poll(|| child.try_wait().unwrap())
}

/// Asks again until there is an answer, or for as long as a test may take.
pub(crate) fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(PAUSE);
    }
    None
}

/// A coordinator that serves. Killed when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Serving {
    /// In a new folder, on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    pub(crate) fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        let mut command = accordant(folder.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments);
        Self::spawn(folder, command)
    }

    /// A command that serves, in its folder.
    pub(crate) fn spawn(folder: TempDir, mut command: Command) -> Self {
        let log = |name| std::fs::File::create(folder.path().join(name)).unwrap();
        command.args(["--unsafe-test-build", "--ready-file", "ready.json"]);
        command.stdout(log("out")).stderr(log("err"));
        let ready = folder.path().join("ready.json");
        // What a killed process has left stands there until the next one begins.
        let _absent = std::fs::remove_file(&ready);
        let mut child = command.spawn().unwrap();
        let ready = poll(|| {
            assert!(
                child.try_wait().unwrap().is_none(),
                "ended: {}",
                read(&folder, "err")
            );
            std::fs::read_to_string(&ready).ok()
        });
        let ready: Value = serde_json::from_str(&ready.expect("not ready in time")).unwrap();
        assert_eq!(ready["pid"], child.id());
        let address = ready["address"].as_str().unwrap().parse().unwrap();
        let serving = Self { child, folder, address };
        poll(|| (serving.get("/readyz").0 == 200).then_some(())).expect("never ready");
        serving
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn get(&self, target: &str) -> (u16, String) {
        http(self.address, &format!("GET {target} HTTP/1.1\r\n"), "")
    }

    /// Submits a transaction of one branch at each of these participants, and returns its status.
    pub(crate) fn submit(&self, key: &str, participants: &[&str]) -> Value {
        let branches: Vec<Value> = participants
            .iter()
            .map(|name| {
                let branch = format!("at-{name}");
                serde_json::json!({ "name": branch, "participant": name, "operation": "work" })
            })
            .collect();
        let body = serde_json::json!({ "branches": branches }).to_string();
        let head = format!(
            "POST /v1/transactions HTTP/1.1\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\n"
        );
        let (status, body) = http(self.address, &head, &body);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Runs a command that asks this coordinator.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        let url = self.url();
        let mut all = arguments.to_vec();
        all.extend(["--url", &url]);
        run(self.folder.path(), &all)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub(crate) fn code(&mut self) -> Option<i32> {
        wait(&mut self.child).expect("does not end").code()
    }

    pub(crate) fn out(&self) -> String {
        read(&self.folder, "out")
    }

    pub(crate) fn err(&self) -> String {
        read(&self.folder, "err")
    }

    /// Kills it, and gives its folder back.
    pub(crate) fn crash(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.folder, folder)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

/// One request on a connection of its own.
pub(crate) fn http(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request =
        format!("{head}host: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// A participant that votes yes and answers no other call: its branches stay in doubt. Returns its
/// address.
pub(crate) fn silent_participant() -> String {
    server(|target, body| {
        if !target.ends_with("/prepare") {
            return (503, "no".to_owned());
        }
        let call: Value = serde_json::from_str(body).unwrap();
        let reply = serde_json::json!({
            "attempt": call["attempt"],
            "identity": { "system": "1/2", "timeline": 1, "starts": 1 },
            "vote": { "yes": { "result": { "seen": 7 } } },
        });
        (200, reply.to_string())
    })
}

/// A server that answers each request by target and body. Returns its address.
pub(crate) fn server(answer: impl Fn(&str, &str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A caller that has gone need not be answered.
            let _gone = stream.ok().and_then(|stream| serve(stream, &answer));
        }
    });
    format!("http://{address}")
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str, &str) -> (u16, String)) -> Option<()> {
    let mut buffer = Vec::new();
    let (head, length) = loop {
        if let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = String::from_utf8(buffer.drain(..end + 4).collect()).ok()?;
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1);
            let length: usize = length.map_or(Some(0), |it| it.lines().next()?.parse().ok())?;
            break (head, length);
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).ok()? {
            0 => return None,
            bytes => buffer.extend(&more[..bytes]),
        }
    };
    while buffer.len() < length {
        let mut more = [0; 4096];
        match stream.read(&mut more).ok()? {
            0 => return None,
            bytes => buffer.extend(&more[..bytes]),
        }
    }
    let target = head.split(' ').nth(1)?;
    let (status, body) = answer(target, std::str::from_utf8(&buffer).ok()?);
    let length = body.len();
    let reply = format!(
        "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(reply.as_bytes()).ok()
}
