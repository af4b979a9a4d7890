//! The machine of a saga action or message.
//!
//! A later stage fills this in: validation refuses such steps until then. Their states will be
//! held by [`crate::node`] beside those of [`crate::group`].
