//! Device global memory.
