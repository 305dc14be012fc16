//! Whole-system tests: real binaries, real clients, real databases.
