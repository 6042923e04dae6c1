//! Tests of the settings of supervisors and pools.

mod boundary_settings;
mod config_fields;
mod default_configs;
mod extreme_durations;
