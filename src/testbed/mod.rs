//! Where a scenario runs: a lab of our own, or a real interface.
//!
//! This room changes the kernel's state only inside namespaces that it made itself. Start at [`network::Lab::up`].

mod link;
pub mod machine;
pub mod network;
pub mod polling;
