//! Pairs of state (or phase) and event that no run reaches, each with its reason. A new pair that is never reached, and one of
//! these that is reached after all, fail the long run.

/// Begins the reason of a pair that is reached now and then, but not in every long run.
pub const RARE: &str = "rarely: ";

const NOBODY: &str = "no incarnation exists: an event about an old one finds the state `stale`";
const ORDER: &str = "its members are looked for only after its leader's death was told";
const ONCE: &str = "a birth and a death are told once";
const DUMB: &str = "it runs no code that could say a word";
const OF_THE_DEAD: &str = "that a dead leader's reply pipe is closed is told by its death";
const BORN_FIRST: &str = "its birth is told before its death, and aborting is left by the way of both";
const NO_STATE: &str = "it is no instance that could hear what all hear";
const READ: &str = "strangers are swept when every source has ended";
const READ_AFTER_ALL: &str =
    "rarely: a source that KILL did not remove is forgotten, and what is in its pipe is read then";
const LOOKED: &str = "its members are looked for in the moment of its death, and nothing is written between";
const READ_ON: &str = "rarely: its last replies must take more than one turn to read";
const KILLED: &str = "rarely: somebody must read or speak on after KILL";
const HASTY: &str = "rarely: it must speak in the moment in which it is killed before its exec was heard of";
const SHORT: &str = "rarely: nearly always it takes no time";
const UNTOLD: &str = "only a source that we stopped reading ends like this, and that is done in a stop";
const OF_A_STOP: &str = "only a stop reads standard input like this, and it has ended before strangers are swept";
const COUNTED: &str = "rarely: before the sweep strangers are counted only when a program ended well at once";
const FIRST: &str = "it is the first event of all";
const UNASKED: &str = "it is asked when it runs, whether it is ready until it is, and for its health from then on";
const NOTHING_GIVEN: &str = "items are given to those that are ready";
const HEIRS: &str = "rarely: somebody must speak in the stead of the leader, or an answer be on its way when that dies";
const LAST_MOMENT: &str =
    "rarely: nearly always it is waited for, but in the turn in which the deadline ends the run it is told after that";
const DEAF: &str = "nothing is told after the turn in which the run ended";

pub const NEVER: &[(&str, &str, &str)] = &[
    ("waiting|due|delayed|resting", "says ready|says alive|triggers|extends|says status|flooded", NOBODY),
    ("waiting|due|delayed|resting", "ready: yes|ready: no|health: yes|health: no", NOBODY),
    ("starting", "says ready|says alive|triggers|extends|says status|flooded", DUMB),
    ("starting|aborting", "ready: yes|ready: no|health: yes|health: no", UNASKED),
    ("getting ready", "health: yes|health: no", UNASKED),
    ("up", "ready: yes|ready: no", UNASKED),
    ("getting ready", "wrote|exited, item in hand", NOTHING_GIVEN),
    ("remains", "ready: yes|ready: no|health: yes|health: no", READ_ON),
    ("remains|remains, told|remains, killed", "says ready|says alive|triggers|extends|says status|flooded", HEIRS),
    ("remains, told|remains, killed", "ready: yes|ready: no|health: yes|health: no", HEIRS),
    (
        "waiting|due|delayed|resting",
        "spawned|spawn failed|wrote|ok|retry|fail|release|touch|prefetch|garbled|closes replies",
        NOBODY,
    ),
    ("waiting|due|delayed|resting", "exited|exited, item in hand|members left|members gone", NOBODY),
    ("starting|aborting", "wrote|exited, item in hand", NOTHING_GIVEN),
    ("aborting", "ok|retry|fail|release|touch|prefetch|flooded", HASTY),
    ("starting", "ok|retry|fail|release|touch|prefetch|garbled|closes replies", DUMB),
    ("remains|remains, told|remains, killed", "closes replies", OF_THE_DEAD),
    ("starting", "exited", BORN_FIRST),
    ("starting|aborting|getting ready|up|leaving", "members left|members gone", ORDER),
    ("getting ready|up|leaving|remains|remains, told|remains, killed", "spawned|spawn failed", ONCE),
    ("remains|remains, told|remains, killed", "exited|exited, item in hand", ONCE),
    ("stale", "stop|interrupt|forward|results closed|tick", NO_STATE),
    ("running", "source torn|source abandoned", UNTOLD),
    ("running|sweeping|over", "stdin read|file grew", OF_A_STOP),
    ("running|stopping", "strangers|no strangers", COUNTED),
    ("stopping|sweeping|over", "began", FIRST),
    ("sweeping", "source abandoned", READ),
    ("sweeping", "submitted|oversized|source whole|source torn|source failed|source still open", READ_AFTER_ALL),
    ("remains", "wrote", LOOKED),
    ("remains, killed", "wrote|ok|retry|fail|release|touch|prefetch|garbled", KILLED),
    ("due|aborting|sweeping|remains|remains, told|remains, killed", "results closed", SHORT),
    ("sweeping", "results written", SHORT),
    ("over", "results written", LAST_MOMENT),
    ("over", "results closed|submitted|oversized", DEAF),
    ("over", "source whole|source torn|source failed|source still open|source abandoned", DEAF),
];
