//! Bytes from and to messages: incremental, split anywhere, every length limited. Knows neither descriptors nor time.

pub mod frames;
pub mod http;
pub mod notify;
pub mod worker;
