//! A network that fails on request: a TCP proxy on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything.
    #[default]
    None,
    /// Cuts every connection, old and new.
    Cut,
    /// Holds everything back until the fault is lifted.
    Hold,
    /// Passes requests, and cuts the connection instead of passing the reply: the call has its
    /// effect, and nobody hears of it.
    LoseReplies,
}

/// A proxy in front of one service.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of an address.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let faults = Arc::clone(&fault);
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, faults.subscribe()));
            }
        });
        Ok(Self { address, fault, server })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, this.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
        // What is open is cut too: the tasks end with the fault's sender.
        self.fault.send_replace(Fault::Cut);
    }
}

async fn pass(client: TcpStream, target: SocketAddr, faults: watch::Receiver<Fault>) {
    if *faults.borrow() == Fault::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let requests = copy(client_read, server_write, faults.clone(), false);
    let replies = copy(server_read, client_write, faults.clone(), true);
    let mut cut = faults;
    // A broken connection is what this is for.
    tokio::select! {
        _ = requests => {}
        _ = replies => {}
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    replies: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let lifted = faults.wait_for(|fault| *fault != Fault::Hold).await;
        let fault = lifted.map_or(Fault::Cut, |fault| *fault);
        if fault == Fault::Cut || (replies && fault == Fault::LoseReplies) {
            return Ok(());
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .await?;
    }
}
