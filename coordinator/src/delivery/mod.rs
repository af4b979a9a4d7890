//! Calls to participants. Decides nothing: it carries a call out and says what it came to, and
//! that is *unknown* unless the participant said it in so many words.
//!
//! `prepare` is one HTTP call per branch, and so is each `act`, by the contract or at a plain HTTP
//! service; both have bounds of their own, so that neither waits for the other. Orders of phase two wait in a lane per participant, and
//! a call takes along all that wait, so that under load many branches share one.

mod act;
mod endpoint;
mod lane;
mod registry;
mod reply;
mod transport;

pub(crate) use lane::Outbound;
pub use lane::{Answered, Delivery, DeliveryConfig};
pub use registry::{AddressError, Registry};
pub use transport::{HttpTransport, Request, Response, Transport, TransportError};
