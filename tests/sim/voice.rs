//! What one incarnation says of itself (sd_notify(3)) and how it answers probes: drawn when it is spawned.

use crate::dice::Dice;
use crate::generate::Mood;
use exeunt::model::plan::WorkerPlan;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Voice {
    /// From its exec to being ready, however it is asked; `None`: never.
    pub ready: Option<Duration>,
    /// Says so twice.
    pub twice: bool,
    /// Between two signs of life.
    pub pings: Option<Duration>,
    /// So long after its exec it gives the last one.
    pub silent_after: Option<Duration>,
    /// Its socket is flooded from the moment in which it goes silent, for so long.
    pub flooded: Duration,
    /// Asks to be stopped as if it had been silent.
    pub triggers: Option<Duration>,
    /// So long after its exec it asks for so much more time to be ready.
    pub delays: Option<(Duration, Duration)>,
    /// Told to leave, it asks for so much more time.
    pub lingers: Option<Duration>,
    /// Says what it is doing, when it runs and when it leaves.
    pub talkative: bool,
    /// From then on it is not well.
    pub ill_after: Option<Duration>,
    /// Chance in a hundred that somebody who is well is found not to be.
    pub flukes: u64,
    /// A question is answered in this time, or when its own is over.
    pub slow: Duration,
}

pub fn draw(dice: &mut Dice, mood: Mood, worker: &WorkerPlan) -> Voice {
    let mut voice = Voice {
        ready: Some(dice.millis(0, 1500)),
        pings: worker.watchdog.map(|watchdog| watchdog / 2),
        talkative: dice.percent(10),
        slow: dice.millis(0, 100),
        ..Voice::default()
    };
    match mood {
        Mood::Calm | Mood::Stopped => {}
        Mood::Mixed => spoil(dice, 12, &mut voice),
        Mood::Wild | Mood::Healing | Mood::Recovering => spoil(dice, 40, &mut voice),
    }
    voice
}

fn spoil(dice: &mut Dice, faults: u64, voice: &mut Voice) {
    voice.twice = dice.percent(faults);
    if dice.percent(faults) {
        voice.ready = dice.percent(60).then(|| dice.millis(0, 9000));
        // Mostly who needs so long says so.
        voice.delays = voice.ready.filter(|_| dice.percent(60)).map(|ready| (dice.millis(0, 600), ready));
    }
    if dice.percent(faults) {
        voice.silent_after = Some(dice.millis(0, 9000));
        let longest = dice.pick(&[0, 3000, 20_000]);
        voice.flooded = dice.millis(0, longest);
    }
    if dice.percent(faults / 4) {
        voice.triggers = Some(dice.millis(0, 5000));
    }
    if dice.percent(faults / 2) {
        voice.delays = Some((dice.millis(0, 4000), dice.millis(0, 6000)));
    }
    if dice.percent(faults / 2) {
        voice.lingers = Some(dice.millis(0, 5000));
    }
    if dice.percent(faults) {
        voice.ill_after = Some(dice.millis(0, 9000));
    }
    if dice.percent(faults) {
        voice.flukes = dice.pick(&[10, 50]);
    }
    // Longer than the patience of most questions.
    let longest = dice.pick(&[100, 600, 6000]);
    voice.slow = dice.millis(0, longest);
}
