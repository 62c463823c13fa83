//! The `pipsqueak` program.

fn main() {}
