//! Records, entries and frames as bytes.
