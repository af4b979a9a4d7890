//! The participant against a real PostgreSQL.

#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod support;
