//! Real processes, real PostgreSQL, kill -9. Money is conserved, nothing stays prepared, and what a
//! client was told stays true.
//!
//! Each test prints what it killed where and how many branches were in doubt then: run with
//! `--nocapture` to see it.

mod audit;
mod bank;
mod http;
mod oracle;
mod relay;
mod teller;
mod world;

mod by_hand;
mod coordinators;
mod crash_points;
mod journal_files;
mod participants;
mod random_kills;
mod repeats;
mod saga;
mod servers;
mod take_over;
