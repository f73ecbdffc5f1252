//! The KILT benchmark: task files, knowledge source, passages, retrieval and metrics.
