//! How a journal in PostgreSQL is opened.

use std::fmt;

use accordant_protocol::id::Cluster;

/// How a journal in PostgreSQL is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The database, as `postgres://user:password@host/database`. Its schema `accordant_journal` is
    /// made unless it is there. Not shown in messages.
    pub url: String,
    /// Whose journal it is.
    pub cluster: Cluster,
    /// How many partitions a new journal gets; if given, an old one must have as many.
    pub partitions: Option<u16>,
    /// The database was restored or failed over, which is certain and known: decisions may be
    /// missing. A new incarnation is drawn, so that no transaction begun before is ever presumed
    /// aborted; the former one is recorded, and every other coordinator is fenced. Set it for one
    /// start only.
    pub restored: bool,
    /// Takes a server that loses acknowledged writes at a power failure (`fsync` or
    /// `full_page_writes` off). For tests only.
    pub accept_unsafe_server: bool,
}

/// Without the password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("cluster", &self.cluster)
            .field("partitions", &self.partitions)
            .field("restored", &self.restored)
            .field("accept_unsafe_server", &self.accept_unsafe_server)
            .finish_non_exhaustive()
    }
}
