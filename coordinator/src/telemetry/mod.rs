//! What an operator sees: metrics here, spans and log lines where things happen.

pub mod catalogue;
pub mod init;
pub mod observe;
