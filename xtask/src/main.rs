//! The project's chores: demo, test, bench, fuzz.
fn main() {}
