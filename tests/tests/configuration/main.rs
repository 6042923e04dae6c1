//! Tests of the settings of supervisors and pools.

mod boundary_settings;
mod config_fields;
mod default_configs;
mod duration_spellings;
mod extreme_durations;
mod files;
