//! Pairs of state (or phase) and event that no run reaches, each with its reason. A new pair that is never reached, and one of
//! these that is reached after all, fail the long run.

/// Begins the reason of a pair that is reached now and then, but not in every long run.
pub const RARE: &str = "rarely: ";

const NOBODY: &str = "no incarnation exists: an event about an old one finds the state `stale`";
const ORDER: &str = "its members are looked for only after its leader's death was told";
const ONCE: &str = "a birth and a death are told once";
const DUMB: &str = "it never was given an item, nor runs it code that could say a word";
const BORN_FIRST: &str = "its birth is told before its death, and aborting is left by the way of both";
const NO_STATE: &str = "it is no instance that could hear what all hear";
const READ: &str = "strangers are swept when every source has ended";
const READ_AFTER_ALL: &str =
    "rarely: a source that KILL did not remove is forgotten, and what is in its pipe is read then";
const LOOKED: &str = "its members are looked for in the moment of its death, and nothing is written between";
const KILLED: &str = "rarely: somebody must read or speak on after KILL";
const SHORT: &str = "rarely: nearly always it takes no time";
const UNTOLD: &str = "only a source that we stopped reading ends like this, and that is done in a stop";
const SWEPT: &str = "strangers are counted after the sweep was ordered";
const FIRST: &str = "it is the first event of all";
const NO_PROBES: &str = "the plans of the simulation know no readiness, health or watchdog yet: unit tests do";
const DEAF: &str = "nothing is told after the turn in which the run ended";

pub const NEVER: &[(&str, &str, &str)] = &[
    ("*", "notified|answered", NO_PROBES),
    ("waiting|due|delayed|resting", "spawned|spawn failed|wrote|ok|retry|fail|release|touch|prefetch|garbled", NOBODY),
    ("waiting|due|delayed|resting", "exited|exited, item in hand|members left|members gone", NOBODY),
    ("starting|aborting", "wrote|ok|retry|fail|release|touch|prefetch|exited, item in hand", DUMB),
    ("starting", "garbled", DUMB),
    ("starting", "exited", BORN_FIRST),
    ("starting|aborting|up|leaving", "members left|members gone", ORDER),
    ("up|leaving|remains|remains, told|remains, killed", "spawned|spawn failed", ONCE),
    ("remains|remains, told|remains, killed", "exited|exited, item in hand", ONCE),
    ("stale", "stop|interrupt|forward|results closed|tick", NO_STATE),
    ("running", "source torn|source abandoned", UNTOLD),
    ("running|stopping", "strangers|no strangers", SWEPT),
    ("stopping|sweeping|over", "began", FIRST),
    ("sweeping", "source abandoned", READ),
    ("sweeping", "submitted|oversized|source whole|source torn|source failed", READ_AFTER_ALL),
    ("remains", "wrote", LOOKED),
    ("remains, killed", "wrote|ok|retry|fail|release|touch|prefetch|garbled", KILLED),
    ("due|aborting|sweeping|remains, killed", "results closed", SHORT),
    ("sweeping", "results written", SHORT),
    ("over", "results closed|results written|submitted|oversized", DEAF),
    ("over", "source whole|source torn|source failed|source abandoned", DEAF),
];
