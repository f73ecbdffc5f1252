//! The checker: what a launch did wrong, and where.
