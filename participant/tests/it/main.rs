//! The participant against a real PostgreSQL.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod call_back;
#[cfg(test)]
mod document;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod local;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rehearsal;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod support;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tcc;
#[cfg(test)]
mod traps;
