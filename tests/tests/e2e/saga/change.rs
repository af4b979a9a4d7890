//! Changes of the coordinator.

use accordant_testbed::{Process, port};

use crate::coordinators::{CONTINUE, STOP, journal_of, signal};
use crate::world::{coordinator, with_plain};

use super::stage::Stage;

/// How the coordinator changes; it may be dead already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is killed and started again.
    Restart,
    /// It is killed, and another takes over.
    Killed,
    /// It is frozen, and another takes over.
    Frozen,
}

/// A coordinator whose place another has taken.
pub(crate) struct Former {
    process: Process,
    pub(crate) url: String,
}

impl Former {
    pub(crate) fn wake(&self) -> anyhow::Result<()> {
        signal(&self.process, CONTINUE)
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.process.kill()?)
    }
}

impl Stage {
    /// Has another coordinator go on. The one before it, if it is frozen and may be woken.
    pub(crate) async fn change(&mut self, change: Change) -> anyhow::Result<Option<Former>> {
        if change == Change::Restart {
            self.world.restart().await?;
            return Ok(None);
        }
        let place = port::reserve()?;
        let world = &mut self.world;
        let url = world.url();
        let name = format!("coordinator-{}", place.address().port());
        let (journal, directory) = (journal_of(world)?, world.directory.path());
        let role = coordinator(&name, place, &journal, &world.banks, directory);
        let other = Process::start(with_plain(role, &world.plain)).await?;
        match change {
            Change::Frozen => signal(&world.coordinator, STOP)?,
            Change::Restart | Change::Killed => world.coordinator.kill()?,
        }
        let process = std::mem::replace(&mut world.coordinator, other);
        world.place = place;
        world.until_ready().await?;
        self.traveller.turn_to(&place.url());
        Ok((change == Change::Frozen).then_some(Former { process, url }))
    }
}
