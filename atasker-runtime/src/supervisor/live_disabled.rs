//! Stands in for `live` if nothing lists the supervisors.

use std::sync::Arc;

use super::core::Core;
use crate::task::scheduler::SchedulerKey;

pub(super) fn created(_core: &Arc<Core>) {}

pub(super) fn dropped(_key: SchedulerKey) {}
