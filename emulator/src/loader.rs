//! Loads this very library as the process's CUDA driver.
