//! Execution of a launch: blocks, warps, lanes.
