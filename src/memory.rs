//! The memory store: passages encoded ahead of time, kept on disk.
