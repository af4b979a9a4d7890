//! Placeholder.
/// Placeholder.
pub enum Event {
    /// P.
    Flushed,
    /// P.
    Answered,
}
