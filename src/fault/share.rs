//! How often something goes wrong: a share in percent, to a hundredth.

use rand::{Rng, RngExt};
use std::fmt;
use std::str::FromStr;

/// In hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u16);

/// All of them.
const ALL: u16 = 10_000;

impl Share {
    /// Every time.
    pub const ALWAYS: Self = Self(ALL);

    /// Whether it happens this time.
    pub fn strikes(self, rng: &mut impl Rng) -> bool {
        rng.random_range(0..ALL) < self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hundredths(text)
            .filter(|hundredths| (1..=ALL).contains(hundredths))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a share from 0.01% to 100%"))
    }
}

/// `0.5%` as 50.
fn hundredths(text: &str) -> Option<u16> {
    let number = text.strip_suffix('%')?;
    let (whole, parts) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(parts) || parts.len() > 2 {
        return None;
    }
    let parts: u16 = format!("{parts:0<2}").parse().ok()?;

    whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(parts)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, parts) = (self.0 / 100, self.0 % 100);
        match parts {
            0 => write!(f, "{whole}%"),
            _ if parts % 10 == 0 => write!(f, "{whole}.{}%", parts / 10),
            _ => write!(f, "{whole}.{parts:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn shares_are_read_and_shown_to_a_hundredth_of_a_percent() {
        for text in ["1%", "100%", "0.5%", "0.05%", "0.01%", "12.34%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["0%", "0.001%", "100.01%", "101%", "5", "%", ".5%", "1.%", "-1%", "1e2%", "99999%"] {
            assert!(text.parse::<Share>().unwrap_err().contains("from 0.01% to 100%"), "{text}");
        }
    }

    #[test]
    fn it_happens_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let half: Share = "0.5%".parse().unwrap();
        let times = (0..100_000).filter(|_| half.strikes(&mut rng)).count();
        assert!((400..600).contains(&times), "{times}");
        assert!((0..100).all(|_| Share::ALWAYS.strikes(&mut rng)));
    }
}
