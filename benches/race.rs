//! Lets programs do the same job in turns, so that what else the machine does befalls all of them.
//!
//! Each output is removed before it is written again, so every program writes into fresh pages. A first round counts for nothing: in it
//! the outputs are compared. Start at [`race`].

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::Duration;

use pcap::{Capture, Precision};

use crate::measure::{self, Taken};
use crate::programs::{Output, Program};

/// What one program took, round by round.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) program: String,
    pub(crate) rounds: Vec<Taken>,
}

/// What all programs took, and how their outputs compare.
#[derive(Debug)]
pub(crate) struct Race {
    pub(crate) runs: Vec<Runs>,
    /// A sentence each.
    pub(crate) remarks: Vec<String>,
}

impl Runs {
    /// The middle one of the rounds' wall times.
    pub(crate) fn wall(&self) -> Duration {
        self.median(|taken| taken.wall)
    }

    /// The middle one of what `part` says of the rounds.
    pub(crate) fn median(&self, part: fn(&Taken) -> Duration) -> Duration {
        let mut parts: Vec<_> = self.rounds.iter().map(part).collect();
        parts.sort_unstable();
        parts.get(parts.len() / 2).copied().unwrap_or_default()
    }

    /// The shortest and the longest wall time.
    pub(crate) fn extremes(&self) -> (Duration, Duration) {
        let walls = || self.rounds.iter().map(|taken| taken.wall);
        (walls().min().unwrap_or_default(), walls().max().unwrap_or_default())
    }

    /// The largest memory of any round.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.rounds.iter().map(|taken| taken.peak_kib).max().unwrap_or_default()
    }

    /// How many times as long as `other` this took: the middle one of the rounds' quotients.
    pub(crate) fn times_of(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let mut quotients: Vec<_> =
            pairs.map(|(this, other)| this.wall.as_secs_f64() / other.wall.as_secs_f64()).collect();
        quotients.sort_unstable_by(f64::total_cmp);
        quotients.get(quotients.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Race {
    /// The runs of a program.
    pub(crate) fn of(&self, program: &str) -> Option<&Runs> {
        self.runs.iter().find(|runs| runs.program == program)
    }
}

/// Runs each program `rounds` times, in turns, another one first in each round. One that fails is left out, and said. Where there is
/// an output, it is `output`, and all that is there of it afterwards is nothing.
pub(crate) fn race(programs: Vec<Program>, capture: &Path, output: &Path, rounds: usize) -> Race {
    let mut remarks = Vec::new();
    let mut rewritten: Option<(String, Vec<u64>)> = None;
    let mut input: Option<Vec<u64>> = None;
    let mut entered = Vec::new();
    for program in programs {
        if let Err(said) = take(&program, output) {
            let why = said.lines().next().unwrap_or("it said nothing");
            remarks.push(format!("{} failed and is left out: {why}", program.name));
            continue;
        }
        match program.output {
            Output::Nothing => {}
            Output::Rewritten => match &rewritten {
                None => rewritten = Some((program.name.clone(), frames(output))),
                Some((first, frames_of_first)) => {
                    let found = difference(frames_of_first, &frames(output));
                    remarks.push(format!("{} wrote {found} {first}.", program.name));
                }
            },
            Output::Copied => {
                let input = input.get_or_insert_with(|| frames(capture));
                let found = difference(input, &frames(output));
                if found != SAME {
                    remarks.push(format!("{} wrote {found} its input.", program.name));
                }
            }
        }
        entered.push(program);
    }
    let mut runs: Vec<_> =
        entered.iter().map(|program| Runs { program: program.name.clone(), rounds: Vec::new() }).collect();
    for round in 0..rounds {
        for turn in 0..entered.len() {
            let at = (turn + round) % entered.len();
            match take(&entered[at], output) {
                Ok(taken) => runs[at].rounds.push(taken),
                Err(said) => remarks.push(format!("{} failed in a later round: {said}", entered[at].name)),
            }
        }
    }
    runs.retain(|runs| runs.rounds.len() == rounds);
    remove(output);
    Race { runs, remarks }
}

const SAME: &str = "the same frames as";

fn take(program: &Program, output: &Path) -> Result<Taken, String> {
    remove(output);
    measure::run(&program.command)
}

fn remove(output: &Path) {
    // It may not be there yet.
    let _ = fs::remove_file(output);
}

/// A hash of each frame, with its time and its length.
fn frames(capture: &Path) -> Vec<u64> {
    let mut hashes = Vec::new();
    let Ok(mut reader) = Capture::from_file_with_precision(capture, Precision::Nano) else { return hashes };
    while let Ok(frame) = reader.next_packet() {
        let mut hasher = DefaultHasher::new();
        // The fraction is of nanoseconds, whatever its name says.
        hasher.write_i64(frame.header.ts.tv_sec);
        hasher.write_i64(frame.header.ts.tv_usec);
        hasher.write_u32(frame.header.len);
        hasher.write(frame.data);
        hashes.push(hasher.finish());
    }
    hashes
}

fn difference(first: &[u64], second: &[u64]) -> String {
    if first == second {
        return SAME.to_owned();
    }
    let differ = first.iter().zip(second).filter(|(first, second)| first != second).count();
    format!("{} frames, {differ} of which are others than those of", second.len())
}
