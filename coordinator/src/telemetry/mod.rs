//! What an operator sees: metrics here, spans and log lines where things happen.

pub mod observe;
