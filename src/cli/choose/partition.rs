//! `--partition`: one of several machines runs its share of the scenarios.

use std::fmt;
use std::str::FromStr;

use twox_hash::XxHash64;

/// A share of the scenarios that are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Partition {
    by: By,
    /// From 1.
    shard: u64,
    of: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Its place among the scenarios that are chosen: the shards have equally many.
    Slice,
    /// Its name: it stays in its shard when others come and go.
    Hash,
}

impl Partition {
    /// Whether the scenario with this name, at this place (from 0) of those that are chosen, is in it.
    ///
    /// The hash is xxHash64 with seed 0, of the name in UTF-8: the same on all machines and with all versions.
    pub(super) fn holds(self, place: usize, name: &str) -> bool {
        let number = match self.by {
            By::Slice => place as u64,
            By::Hash => XxHash64::oneshot(0, name.as_bytes()),
        };
        number % self.of == self.shard - 1
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Slice => "slice",
            By::Hash => "hash",
        };
        write!(f, "{by}:{}/{}", self.shard, self.of)
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || "it is `slice:M/N` or `hash:M/N`, the share M of N".to_owned();
        let (word, share) = text.split_once(':').ok_or_else(form)?;
        let by = match word {
            "slice" => By::Slice,
            "hash" => By::Hash,
            _ => return Err(form()),
        };
        let (shard, of) = share.split_once('/').ok_or_else(form)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| form());
        match (number(shard)?, number(of)?) {
            (_, 0) => Err(form()),
            (0, of) => Err(format!("shares are counted from 1: `{word}:1/{of}` is the first")),
            (shard, of) if shard > of => Err(format!("there are {of} shares: `{word}:{of}/{of}` is the last")),
            (shard, of) => Ok(Self { by, shard, of }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these names each of the three shares has.
    fn shares(by: &str, names: &[String]) -> Vec<Vec<String>> {
        let share = |shard| {
            let partition: Partition = format!("{by}:{shard}/3").parse().expect("it is a partition");
            let named = names.iter().enumerate().filter(|(place, name)| partition.holds(*place, name));
            named.map(|(_, name)| name.clone()).collect()
        };
        (1..=3).map(share).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("scenario-{number}")).collect()
    }

    #[test]
    fn each_scenario_is_in_one_share() {
        for by in ["slice", "hash"] {
            let names = names(1000);
            let shares = shares(by, &names);
            let mut together = shares.concat();
            together.sort();
            let mut sorted = names.clone();
            sorted.sort();
            assert_eq!(together, sorted, "{by}");
            assert!(shares.iter().all(|share| (250..420).contains(&share.len())), "{by}: {shares:?}");
        }
    }

    #[test]
    fn slices_are_equally_long() {
        let shares = shares("slice", &names(7));
        assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(shares[1], ["scenario-1", "scenario-4"]);
    }

    #[test]
    fn a_hash_is_the_same_for_ever() {
        // The published hash of nothing, for seed 0.
        assert_eq!(XxHash64::oneshot(0, b""), 0xef46_db37_51d8_e999);
        let names = ["appflow", "dns", "syslog", "radius", "sip"].map(str::to_owned);
        let shares = shares("hash", &names);
        insta::assert_snapshot!(format!("{shares:?}"));
        let fewer = super::tests::shares("hash", &names[1..]);
        assert!(fewer.iter().zip(&shares).all(|(fewer, all)| fewer.iter().all(|name| all.contains(name))));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in [
            "",
            "slice",
            "slice:1",
            "slice:1/",
            "slice:/3",
            "slice:0/3",
            "hash:4/3",
            "hash:1/0",
            "count:1/2",
            "slice:-1/2",
        ] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
        }
        for text in ["slice:1/1", "hash:3/3"] {
            assert_eq!(text.parse::<Partition>().expect("it is a partition").to_string(), text);
        }
    }
}
