//! The kit against the real library, which keeps the contract, and against stubs that break it in
//! one way each: the check that is meant for it must find it.

#[cfg(test)]
mod broken;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod library;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod plain_stub;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod support;
