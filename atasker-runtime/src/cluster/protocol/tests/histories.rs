//! Random histories, with failures of every kind.
