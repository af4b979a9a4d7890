//! One thread that spawns every server and lives as long as the process.
//!
//! On Linux a server asks to be told when its parent ends, so that a killed test leaves nothing
//! behind. The parent, for that purpose, is the *thread* that spawned it. A test's thread and the
//! threads of tokio's blocking pool end early, and would take the server with them.

use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::limits;
use crate::postmaster::Postmaster;

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Postmaster>>,
}

/// Set by the first caller. A static is never dropped, so the thread never sees its queue end.
static ORDERS: Mutex<Option<SyncSender<Order>>> = Mutex::new(None);

/// Spawns `command` from the lasting thread.
///
/// # Cancel safety
/// If the future is dropped, the server that was spawned for it is stopped and reaped.
pub(crate) async fn spawn(command: Command) -> io::Result<Postmaster> {
    let (reply, answer) = oneshot::channel();
    let orders = orders()?;
    let gone = || io::Error::other("the thread that spawns servers has ended");
    orders.send(Order { command, reply }).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn orders() -> io::Result<SyncSender<Order>> {
    let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(orders) = &*orders {
        return Ok(orders.clone());
    }
    let (sender, receiver) = sync_channel(limits::SPAWNS_QUEUED_MAX);
    std::thread::Builder::new()
        .name("postgres-spawner".to_owned())
        .spawn(move || serve(&receiver))?;
    *orders = Some(sender.clone());
    Ok(sender)
}

fn serve(orders: &Receiver<Order>) {
    while let Ok(Order { mut command, reply }) = orders.recv() {
        let spawned = command.spawn().map(Postmaster::new);
        // A caller that no longer waits gets the server dropped, which stops it.
        drop(reply.send(spawned));
    }
}
