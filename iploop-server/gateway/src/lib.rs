//! IPLoop's gateway: customer listeners, authentication, exit selection, relay and metering.
