//! What the example programs share: the stage that they play on, what its services write down of
//! their work, and how that is shown and counted.
//!
//! | module | what it answers for |
//! |---|---|
//! | `stage` | the coordinator and the services, each a process of its own |
//! | `service` | a service in its process |
//! | `diary` | what a service was asked and has said, written down by itself |
//! | `bank`, `mail` | services that two of the programs have |
//! | `play` | transactions from their submission to their end, and kills in between |
//! | `timeline` | one transaction, as its participants have seen it |
//! | `verdict` | what was counted, and whether it holds |

pub mod bank;
pub mod clock;
pub mod diary;
pub mod dice;
pub mod http;
pub mod mail;
pub mod play;
pub mod service;
pub mod stage;
pub mod timeline;
pub mod verdict;
