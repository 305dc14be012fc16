//! The business of IPLoop: accounts, keys, plans, balance, usage, and the traits at the seams.
