//! The packet filter of a network namespace, as `nft -j list ruleset` shows it (libnftables-json(5)). Start at [`Ruleset::read`].

use std::path::Path;

use serde_json::Value;

use serde::{Deserialize, Serialize};

use super::firewall::Firewall;
use super::ruleset;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Filter {
    #[default]
    None,
    Rules(Ruleset),
    Unseen(String),
}

impl Filter {
    /// The rules of this machine, where there are some and they can be seen.
    pub(super) fn behind(firewall: &Firewall) -> Self {
        match firewall {
            // That it can't be seen is said beside the prediction.
            Firewall::None | Firewall::Unseen(_) => Self::None,
            Firewall::Chains(chains) if chains.iter().any(|chain| chain.contains("(legacy")) => {
                Self::Unseen("rules of the old iptables are there".to_owned())
            }
            Firewall::Chains(_) => {
                ruleset::list("", Path::new(""), "").map_or_else(Self::Unseen, |json| Self::read(&json))
            }
        }
    }

    pub fn read(json: &str) -> Self {
        Ruleset::read(json)
            .map_or_else(|| Self::Unseen("`nft` lists it in a form that is not known".to_owned()), Self::Rules)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ruleset {
    pub(crate) chains: Vec<Chain>,
    pub(crate) sets: Vec<(Place, Value)>,
}

/// Family, table and name.
pub(crate) type Place = (String, String, String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) place: Place,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) hook: String,
    pub(crate) priority: i64,
    pub(crate) drops: bool,
    pub(crate) device: Option<String>,
}

impl Ruleset {
    /// Reads what `nft -j list ruleset` printed; `None` for something else.
    pub fn read(json: &str) -> Option<Self> {
        let listed: Value = serde_json::from_str(json).ok()?;
        let mut ruleset = Self::default();
        for object in listed.get("nftables")?.as_array()? {
            let (kind, content) = object.as_object()?.iter().next()?;
            let text = |key: &str| content.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let place = |name: &str| (text("family"), text("table"), text(name));
            match kind.as_str() {
                "chain" => {
                    let base = content.get("hook").map(|_| Base {
                        hook: text("hook"),
                        priority: content.get("prio").and_then(Value::as_i64).unwrap_or(0),
                        drops: text("policy") == "drop",
                        device: content.get("dev").and_then(Value::as_str).map(str::to_owned),
                    });
                    ruleset.chains.push(Chain { place: place("name"), base, rules: Vec::new() });
                }
                "set" | "map" => ruleset.sets.push((place("name"), content.clone())),
                "rule" => {
                    let of = place("chain");
                    let rule = content.get("expr").cloned().unwrap_or_default();
                    ruleset
                        .chains
                        .iter_mut()
                        .filter(|chain| chain.place == of)
                        .for_each(|chain| chain.rules.push(rule.clone()));
                }
                _ => {}
            }
        }
        ruleset.chains.sort_by_key(|chain| chain.base.as_ref().map(|base| base.priority));
        Some(ruleset)
    }
}
