//! When orders arrive: intended start times that the rate and the seed fix
//! beforehand, whatever the database makes of them, and how a load rises and
//! falls over time.

use super::Segment;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// At random and independently of each other, as customers come: a Poisson
    /// process.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

impl Spacing {
    /// The word on the command line and in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Constant => "constant",
        }
    }
}

/// One stage of a load: it goes linearly from the level before to its own, and
/// stays there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// How long it lasts, the way there included; `None` for ever.
    pub duration: Option<Duration>,
    /// How long the way there takes.
    pub ramp: Duration,
    /// Orders per second, or clients.
    pub level: f64,
}

/// A level over time: orders per second, or clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pieces: Arc<[Piece]>,
}

/// From `from` at `start` to `to` at `end`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    start: f64,
    end: f64,
    from: f64,
    to: f64,
    /// The level added up over time, at the start.
    area: f64,
}

impl Piece {
    fn slope(&self) -> f64 {
        if self.end.is_finite() { (self.to - self.from) / (self.end - self.start) } else { 0.0 }
    }

    fn level(&self, at: f64) -> f64 {
        self.from + self.slope() * (at - self.start)
    }

    fn area_at(&self, at: f64) -> f64 {
        self.area + (at - self.start) * f64::midpoint(self.from, self.level(at))
    }

    /// When the level, added up, has grown by `more` since the start.
    fn grown_by(&self, more: f64) -> f64 {
        if more <= 0.0 {
            return self.start;
        }
        // The root of `from·x + slope·x²/2 = more` that stays exact as the
        // slope goes to zero.
        let root = (self.from * self.from + 2.0 * self.slope() * more).max(0.0).sqrt();
        self.start + 2.0 * more / (self.from + root)
    }
}

impl Profile {
    /// A load that begins at nothing and goes through these stages; where the
    /// first has no ramp it begins at its level.
    pub fn new(stages: &[Stage]) -> Self {
        let (mut pieces, mut start, mut area, mut level) = (Vec::new(), 0.0, 0.0, 0.0);
        for stage in stages {
            let length = stage.duration.map_or(f64::INFINITY, |duration| duration.as_secs_f64());
            let ramp = stage.ramp.as_secs_f64().min(length);
            for (length, from) in [(ramp, level), (length - ramp, stage.level)] {
                if length > 0.0 {
                    let piece = Piece { start, end: start + length, from, to: stage.level, area };
                    start = piece.end;
                    area = if start.is_finite() { piece.area_at(start) } else { f64::INFINITY };
                    pieces.push(piece);
                }
            }
            level = stage.level;
        }
        Self { pieces: pieces.into() }
    }

    /// The same level all the time, for ever or for a while.
    pub fn constant(level: f64, duration: Option<Duration>) -> Self {
        Self::new(&[Stage { duration, ramp: Duration::ZERO, level }])
    }

    /// The level of its first stage, once reached: what a warm-up runs at.
    pub fn first_level(&self) -> f64 {
        self.pieces.first().map_or(0.0, |piece| piece.to)
    }

    /// The highest level.
    pub fn peak(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max)
    }

    /// Its corners: a time in seconds and the level there, with a straight line
    /// from one to the next; one that lasts for ever has no last corner.
    pub fn corners(&self) -> Vec<(f64, f64)> {
        let of_piece = |piece: &Piece| [(piece.start, piece.from), (piece.end, piece.to)];
        self.pieces.iter().flat_map(of_piece).filter(|(at, _)| at.is_finite()).collect()
    }

    /// The level at a time, 0 after the end.
    pub fn level(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        self.pieces.iter().find(|piece| at < piece.end).map_or(0.0, |piece| piece.level(at))
    }

    /// When the level is next above `floor`, from `at` on; `None` if it is
    /// never again.
    pub fn next_above(&self, floor: f64, at: Duration) -> Option<Duration> {
        let at = at.as_secs_f64();
        let above = self.pieces.iter().filter(|piece| at < piece.end).find_map(|piece| {
            let from = at.max(piece.start);
            if piece.level(from) > floor {
                return Some(from);
            }
            // A hair behind the crossing, so that the level is above there.
            let crossing = piece.start + (floor - piece.from) / piece.slope() + 1e-6;
            (piece.to > floor && crossing < piece.end).then_some(crossing.max(from))
        });
        above.map(Duration::from_secs_f64)
    }
}

/// When orders start.
#[derive(Debug, Clone)]
pub enum Pace {
    /// Each client sends its next order when the last one is answered.
    Closed {
        /// So many clients over time.
        clients: Profile,
    },
    /// Orders start when they arrive, however the database is doing.
    Open {
        /// Orders per second over time.
        rate: Profile,
        /// How they are spaced.
        spacing: Spacing,
    },
}

/// Intended start times, ascending: a function of the profile, the spacing and
/// the seed.
///
/// A Poisson process of a varying rate is one of rate 1 seen through the rate
/// added up over time (Çinlar, "Introduction to Stochastic Processes", 1975,
/// ch. 4.7), so each gap is an exponential draw looked up there.
#[derive(Debug, Clone)]
pub struct Arrivals {
    profile: Profile,
    piece: usize,
    spacing: Spacing,
    rng: ChaCha8Rng,
    /// The added-up rate at the next arrival.
    area: f64,
    /// Arrivals of others before the next one of this segment, and between two of them.
    others: (u64, u64),
}

/// Keeps the draws of arrivals apart from those of the orders.
const STREAM: u64 = u64::MAX;

impl Arrivals {
    /// Arrivals at the rates of a profile, in orders per second.
    pub fn new(profile: Profile, spacing: Spacing, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        let mut arrivals = Self { profile, piece: 0, spacing, rng, area: 0.0, others: (0, 0) };
        if spacing == Spacing::Poisson {
            arrivals.area = arrivals.gap();
        }
        arrivals
    }

    /// Those of them that are this segment's.
    #[must_use]
    pub fn of_segment(self, segment: Segment) -> Self {
        Self { others: (segment.number - 1, segment.of - 1), ..self }
    }

    fn gap(&mut self) -> f64 {
        match self.spacing {
            Spacing::Poisson => Exp1.sample(&mut self.rng),
            Spacing::Constant => 1.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        for _ in 0..self.others.0 {
            self.next_of_all()?;
        }
        self.others.0 = self.others.1;
        self.next_of_all()
    }
}

impl Arrivals {
    fn next_of_all(&mut self) -> Option<Duration> {
        loop {
            let piece = self.profile.pieces.get(self.piece)?;
            let next_area = self.profile.pieces.get(self.piece + 1).map(|next| next.area);
            let at = piece.grown_by(self.area - piece.area);
            let is_pause = piece.from <= 0.0 && piece.to <= 0.0;
            if !is_pause && at < piece.end && next_area.is_none_or(|next| self.area < next) {
                self.area += self.gap();
                return Some(Duration::from_secs_f64(at));
            }
            self.piece += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(duration: u64, ramp: u64, level: f64) -> Stage {
        Stage { duration: Some(Duration::from_secs(duration)), ramp: Duration::from_secs(ramp), level }
    }

    fn counted(arrivals: &[Duration], from: u64, to: u64) -> usize {
        let within = Duration::from_secs(from)..Duration::from_secs(to);
        arrivals.iter().filter(|at| within.contains(at)).count()
    }

    #[test]
    fn constant_arrivals_come_evenly_and_begin_at_once() {
        let profile = Profile::constant(4.0, Some(Duration::from_secs(1)));
        let millis: Vec<u128> =
            Arrivals::new(profile, Spacing::Constant, 1).map(|at| at.as_millis()).collect();
        assert_eq!(millis, [0, 250, 500, 750]);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_chance() {
        let profile = Profile::constant(1_000.0, Some(Duration::from_secs(100)));
        let arrivals: Vec<Duration> = Arrivals::new(profile.clone(), Spacing::Poisson, 1).collect();
        assert!(arrivals.is_sorted());
        // The count's standard deviation is the root of 100,000.
        assert!(arrivals.len().abs_diff(100_000) < 4 * 316, "{}", arrivals.len());
        // Gaps of an exponential distribution: 1 - 1/e of them below the mean.
        let short = arrivals
            .windows(2)
            .filter(|pair| pair[1].saturating_sub(pair[0]) < Duration::from_millis(1))
            .count();
        assert!((63_000 - 1_000..63_000 + 1_500).contains(&short), "{short}");
        assert!(Arrivals::new(profile.clone(), Spacing::Poisson, 1).eq(arrivals.iter().copied()));
        assert!(Arrivals::new(profile, Spacing::Poisson, 2).ne(arrivals.iter().copied()));
    }

    #[test]
    fn segments_share_the_very_arrivals_of_the_whole() {
        let profile = Profile::constant(1_000.0, Some(Duration::from_secs(3)));
        let all = Arrivals::new(profile, Spacing::Poisson, 5);
        let of = |number| all.clone().of_segment(Segment { number, of: 8 });
        let mut together: Vec<Duration> = (1..=8).flat_map(of).collect();
        together.sort();
        assert!(all.clone().eq(together));
        assert_eq!(of(2).nth(3), all.clone().nth(1 + 3 * 8));
    }

    #[test]
    fn a_ramp_rises_linearly_and_stages_follow_each_other() {
        let profile = Profile::new(&[stage(20, 10, 100.0), stage(10, 0, 0.0), stage(10, 5, 200.0)]);
        let arrivals: Vec<Duration> = Arrivals::new(profile.clone(), Spacing::Constant, 1).collect();
        // 0 to 100 over 10 s: 125 arrivals in the first half, 375 in the second.
        assert!(counted(&arrivals, 0, 5).abs_diff(125) <= 1, "{}", counted(&arrivals, 0, 5));
        assert!(counted(&arrivals, 5, 10).abs_diff(375) <= 1);
        assert!(counted(&arrivals, 10, 20).abs_diff(1_000) <= 1);
        assert_eq!(counted(&arrivals, 20, 30), 0, "a pause");
        assert!(counted(&arrivals, 30, 35).abs_diff(500) <= 1);
        assert!(counted(&arrivals, 35, 40).abs_diff(1_000) <= 1);
        assert!(arrivals.is_sorted() && arrivals.last().unwrap() < &Duration::from_secs(40));
        assert!((profile.level(Duration::from_secs(5)) - 50.0).abs() < 1e-9);
        assert!((profile.peak() - 200.0).abs() < 1e-9 && (profile.first_level() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_next_time_above_a_level_is_found_on_ramps_and_after_pauses() {
        let profile = Profile::new(&[stage(20, 10, 100.0), stage(10, 0, 0.0), stage(10, 0, 30.0)]);
        let above = |floor: f64, at: u64| profile.next_above(floor, Duration::from_secs(at));
        let seconds = |found: Option<Duration>| found.map(|at| (at.as_secs_f64() * 1e3).round() / 1e3);
        assert_eq!(seconds(above(0.0, 0)), Some(0.0));
        assert_eq!(seconds(above(50.0, 0)), Some(5.0));
        assert!(profile.level(above(50.0, 0).unwrap()) > 50.0);
        assert_eq!(seconds(above(50.0, 12)), Some(12.0));
        assert_eq!(seconds(above(20.0, 22)), Some(30.0));
        assert_eq!(above(50.0, 22), None);
        let endless = Profile::constant(8.0, None);
        assert_eq!(endless.next_above(7.0, Duration::from_secs(99)), Some(Duration::from_secs(99)));
        assert_eq!(endless.next_above(8.0, Duration::ZERO), None);
    }
}
