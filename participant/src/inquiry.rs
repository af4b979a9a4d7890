//! Asks the coordinator what became of a transaction.

use accordant_protocol::id::Gid;
use accordant_protocol::wire::api::{OutcomeReply, TRANSACTIONS_PATH, Verdict};

use crate::coordinator::{Coordinator, CoordinatorError};

impl Coordinator {
    /// Nothing follows from an error: ask again.
    pub(crate) async fn ask(&self, gid: &Gid) -> Result<Verdict, CoordinatorError> {
        let (gtid, branch, name) = (gid.gtid, gid.branch, &self.name);
        let target =
            format!("{TRANSACTIONS_PATH}/{gtid}/outcome?participant={name}&branch={branch}");
        let body = self.get(&target).await?;
        let reply: OutcomeReply = serde_json::from_slice(&body)
            .map_err(|error| CoordinatorError::Form(error.to_string()))?;
        if reply.id != gtid {
            return Err(CoordinatorError::Form(format!("it is about {}", reply.id)));
        }
        Ok(reply.verdict)
    }
}
