//! A server that does what a script says, down to the bytes, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use accordant_client::{Gtid, ProblemCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// This status line and headers, and this body.
    Reply { status: u16, headers: String, body: String },
    /// These bytes, then the connection is closed.
    Bytes(&'static str),
    /// The connection is closed without a reply.
    Close,
    /// The connection is kept, and nothing comes.
    Hang,
    /// A reply without an end.
    Endless,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Stub {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// Does these acts in turn, and the last one from then on.
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let acts: Arc<Mutex<VecDeque<Act>>> = Arc::new(Mutex::new(acts.into_iter().collect()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&acts), Arc::clone(&seen)));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Asked>>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let asked = read(&mut stream, &mut buffer).await?;
        seen.lock().unwrap().push(asked);
        let act = {
            let mut acts = acts.lock().unwrap();
            if acts.len() > 1 {
                acts.pop_front()
            } else {
                acts.front().cloned()
            }
        };
        match act? {
            Act::Reply { status, headers, body } => {
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                );
                stream.write_all(reply.as_bytes()).await.ok()?;
            }
            Act::Bytes(bytes) => {
                stream.write_all(bytes.as_bytes()).await.ok()?;
                return None;
            }
            Act::Close => return None,
            Act::Hang => std::future::pending().await,
            Act::Endless => {
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(&[b' '; 64 * 1024]).await.ok()?;
                }
            }
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some((asked, length)) = parse(buffer) {
            buffer.drain(..length);
            return Some(asked);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(buffer: &[u8]) -> Option<(Asked, usize)> {
    let end = buffer.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..end]).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    let body = buffer.get(end..end + length)?;
    let body = String::from_utf8(body.to_vec()).ok()?;
    Some((Asked { method, target, headers, body }, end + length))
}

pub(crate) const ID: &str = "acc.3.00001.0000000017zzzzzzzzzzzzzzzzzzzzzzzzz";

pub(crate) fn id() -> Gtid {
    ID.parse().unwrap()
}

/// A status with this outcome and state.
pub(crate) fn status(http: u16, outcome: &str, state: &str) -> Act {
    let body = format!(
        r#"{{"id":"{ID}","tenant":"default","idempotency_key":"order-1","state":"{state}",
        "outcome":"{outcome}","begun_at":1,"epoch":3,"news":"passed over","branches":[
        {{"index":0,"name":"debit","participant":"bank-a","state":"committed","attempts":1,
          "result":{{"balance":95}}}},
        {{"index":1,"name":"credit","participant":"bank-b","state":"committed","attempts":1}}]}}"#
    );
    Act::Reply { status: http, headers: String::new(), body }
}

/// A problem as the coordinator writes it.
pub(crate) fn problem(code: ProblemCode) -> Act {
    problem_with(code, "")
}

pub(crate) fn problem_with(code: ProblemCode, headers: &str) -> Act {
    let problem = accordant_client::Problem::new(code, "detail");
    let body = serde_json::to_string(&problem).unwrap();
    Act::Reply { status: problem.status, headers: headers.to_owned(), body }
}
