//! Tests against the binary and against real servers, in one program, so that
//! every test of a kind of server shares one lab server.

mod audits;
mod backends;
mod catalogue;
mod cli;
mod clusters;
mod comparisons;
mod connections;
mod drift;
mod edges;
mod explorations;
mod explored;
mod faults;
mod figures;
mod files;
mod given_up;
mod guards;
mod hints;
mod hostile;
mod labs;
mod limits;
mod mangled;
mod pages;
mod poolers;
mod secrets;
mod segments;
mod shops;
mod signals;
mod sold_out;
mod support;
mod tables;
mod tidy;
mod unread;
mod verdicts;
mod write_guard;
