//! Launches written out and run again.
