//! The device side of IPLoop: consent, limits, dialing and reconnecting.
