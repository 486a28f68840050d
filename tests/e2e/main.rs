//! The real binary, real signals, real processes. Each test has a directory and a mark of its own, waits for words and
//! never for time, and ends by making sure that nobody is left behind. Workers are POSIX sh and Python without libraries;
//! those of `languages` are the examples.
#![cfg(feature = "os")]

mod anywhere;
mod boot;
mod cgroup;
mod child_state;
mod ctrl_c;
mod daemons;
mod exit_codes;
mod faults_clock;
mod faults_files;
mod faults_kill;
mod faults_rights;
mod faults_shortage;
mod faults_spawn;
mod faults_stop;
mod faults_terminal;
mod forward;
mod identity;
mod idle;
mod init;
mod init_names;
mod init_originals;
mod init_terminal;
mod killed;
mod languages;
mod large_items;
mod last_writes;
mod lease;
mod members;
mod misbehaviour;
mod notify_limits;
mod order;
mod other_user;
mod pid_one;
mod probes;
mod queue;
mod ready_notify;
mod report;
mod scratch;
mod stdout;
mod stop;
mod storm;
mod support;
mod surroundings;
mod watchdog;
