//! Which strategy is the one to ship: the same load on each of several, round
//! after round, and what can be said of the figures.
//!
//! In reading order: [`matrix`] is what is run and in which order, [`journal`] keeps
//! what was measured through an interruption, [`stats`] has the intervals and the test
//! of significance, [`judge`] ranks, [`advice`] says in sentences what follows.
//!
//! All of it is pure but the journal: it takes samples and knows no database.

pub mod advice;
pub mod journal;
pub mod judge;
pub mod matrix;
pub mod stats;
