//! Live tests: the state of namespaces that these tests make, real traffic in
//! them, real drops by the kernel, and what is said about those.

mod bed;
mod drops;
mod fault;
mod faults;
mod predicted;
mod programs;
mod reasons;
mod state;
mod traced;
