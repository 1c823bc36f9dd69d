//! Histograms as text, whole: what results of several processes are put together from
//! without loss. HdrHistogram's second format, deflated, in base64.

use super::recorder::latency_histogram;
use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

/// A histogram as text; `None` if it cannot be written, which would be a bug.
pub fn encode(histogram: &Histogram<u64>) -> Option<String> {
    let mut encoded = Vec::new();
    let kept = V2DeflateSerializer::new().serialize(histogram, &mut encoded);
    kept.is_ok().then(|| BASE64_STANDARD.encode(&encoded))
}

/// A histogram from its text.
///
/// # Errors
/// The text is something else.
pub fn decode(text: &str) -> Result<Histogram<u64>> {
    let encoded = BASE64_STANDARD.decode(text).context("hdr is not base64")?;
    let decoded = Deserializer::new().deserialize(&mut encoded.as_slice());
    decoded.map_err(|error| anyhow!("hdr is no histogram: {error:?}"))
}

/// Decodes into a histogram of the bounds that all of its kind have, so that they can be
/// added.
fn decode_into(mut empty: Histogram<u64>, text: &str) -> Result<Histogram<u64>> {
    let decoded = decode(text)?;
    ensure!(decoded.sigfig() == empty.sigfig(), "hdr is of another precision");
    empty.add(decoded).map_err(|_| anyhow!("hdr holds values beyond the bounds of its kind"))?;
    Ok(empty)
}

/// A histogram of latencies from its text.
///
/// # Errors
/// The text is something else.
pub fn latency_from(text: &str) -> Result<Histogram<u64>> {
    decode_into(latency_histogram(), text)
}

/// For serde: one histogram.
macro_rules! one {
    ($name:ident, $empty:path) => {
        pub(super) mod $name {
            use hdrhistogram::Histogram;
            use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

            pub(in super::super) fn serialize<S: Serializer>(
                histogram: &Histogram<u64>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let text = super::encode(histogram);
                text.ok_or_else(|| ser::Error::custom("a histogram"))?.serialize(serializer)
            }

            pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Histogram<u64>, D::Error> {
                let text = String::deserialize(deserializer)?;
                super::decode_into($empty(), &text).map_err(de::Error::custom)
            }
        }
    };
}

one!(latency, crate::engine::recorder::latency_histogram);
one!(retries, crate::engine::recorder::retries_histogram);

/// For serde: histograms of latencies by a key, as pairs, since a key need not be text.
pub(super) mod by_key {
    use super::super::recorder::LatencyUs;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
    use std::collections::BTreeMap;

    pub(in super::super) fn serialize<K: Serialize, S: Serializer>(
        histograms: &BTreeMap<K, LatencyUs>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let pairs: Option<Vec<(&K, String)>> =
            histograms.iter().map(|(key, histogram)| Some((key, super::encode(histogram)?))).collect();
        pairs.ok_or_else(|| ser::Error::custom("a histogram"))?.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, K, D>(
        deserializer: D,
    ) -> Result<BTreeMap<K, LatencyUs>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, String)>::deserialize(deserializer)?;
        let histogram = |text: String| super::latency_from(&text).map_err(de::Error::custom);
        pairs.into_iter().map(|(key, text)| Ok((key, histogram(text)?))).collect()
    }
}
