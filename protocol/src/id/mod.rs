//! Names and numbers. Each is a type of its own, so that none can stand in for another.

mod gid;
mod gtid;
mod name;
mod number;

pub use gid::{Gid, GidError};
pub use gtid::{Cluster, ClusterError, Gtid, GtidError};
pub use name::{
    BranchName, IdempotencyKey, NameError, OperationName, ParticipantName, StepName, TenantName,
    Traceparent,
};
pub use number::{Attempt, BranchIndex, Epoch, Fingerprint, Incarnation, PartitionId, Position};
