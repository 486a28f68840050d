//! The targets. Nothing here knows how inputs are made.

pub mod answers;
pub mod anything;
pub mod config;
pub mod datagrams;
pub mod env_files;
pub mod events;
pub mod frames;
pub mod plans;
pub mod replies;
