//! stockbench fires concurrent orders at a real database with a chosen
//! strategy, and proves from three witnesses whether every unit of stock is
//! accounted for.
//!
//! The modules in reading order: what is ordered ([`workload`]), how stock is
//! deducted ([`strategy`]), on what ([`db`]), how it is fired ([`engine`]),
//! how it is judged ([`audit`]), or every interleaving of a few of them
//! ([`explore`]), what is shown ([`report`]); around them the
//! command line ([`cli`], [`commands`]), scenarios ([`scenario`]) and
//! throwaway servers ([`lab`]). ARCHITECTURE.md is the longer map.

// Tests may unwrap; what ships says what it expects.
#![warn(clippy::unwrap_used)]

pub mod arguments;
pub mod audit;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod db;
pub mod dotenv;
pub mod engine;
mod escape;
pub mod exit;
pub mod explore;
pub mod fault;
pub mod finding;
pub mod input;
pub mod lab;
pub mod load;
pub mod outcome;
pub mod report;
pub mod scenario;
mod shipped;
pub mod strategy;
mod streamed;
mod text;
pub mod workload;
