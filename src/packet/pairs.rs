//! Maps in JSON whose keys are no texts: as lists of pairs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For `serialize_with`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<'a, M, K, V, S>(map: &'a M, serializer: S) -> Result<S::Ok, S::Error>
where
    &'a M: IntoIterator<Item = (&'a K, &'a V)>,
    K: Serialize + 'a,
    V: Serialize + 'a,
    S: Serializer,
{
    serializer.collect_seq(map)
}

/// For `deserialize_with`.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, M, K, V, D>(deserializer: D) -> Result<M, D::Error>
where
    M: IntoIterator<Item = (K, V)> + FromIterator<(K, V)>,
    K: Deserialize<'de>,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Vec::deserialize(deserializer).map(M::from_iter)
}
