//! exeunt, *they all leave*: a container's init, a process supervisor and a bounded work queue in one static binary.
//!
//! Imports go down only. The pure half (`model`, `config`, `wire`, `machine`) builds without the operating-system crates
//! (`cargo build --no-default-features --lib`), so the compiler guards the rule. `docs/architecture.md` has the map.
//!
//! ```text
//! cli      -> all below            arguments, checks, the only place that prints
//! shell    -> machine wire sys     the mio loop: builds events, performs actions; decides only the order of a turn
//! sys      -> model                every system call, all unsafe, the only clock
//! config   -> model                TOML text -> Plan, or all the problems; opens no file
//! wire     -> model                bytes <-> messages, incremental, every length limited
//! machine  -> model                pure state machines: no system, no clock, no random but a seed
//! model    -> std                  the words: Time, ids, Signal, ExitStatus, Plan, Item
//! ```

#[cfg(feature = "os")]
pub mod cli;
pub mod config;
pub mod machine;
pub mod model;
#[cfg(feature = "os")]
pub mod shell;
#[cfg(feature = "os")]
pub mod sys;
pub mod wire;
