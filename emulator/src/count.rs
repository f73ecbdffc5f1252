//! Counters per launch, and what they mean on a named device.
