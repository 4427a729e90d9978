//! Maps whose keys are no texts, as lists of pairs: JSON has no other keys. For `#[serde(with = …)]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map)
}

pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<K, V>, D::Error> {
    Vec::deserialize(deserializer).map(|pairs| pairs.into_iter().collect())
}

/// The same where there may be no map.
pub(super) mod optional {
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(in super::super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &Option<BTreeMap<K, V>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        map.as_ref().map(|map| map.iter().collect::<Vec<_>>()).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BTreeMap<K, V>>, D::Error> {
        let pairs = Option::<Vec<(K, V)>>::deserialize(deserializer)?;
        Ok(pairs.map(|pairs| pairs.into_iter().collect()))
    }
}
