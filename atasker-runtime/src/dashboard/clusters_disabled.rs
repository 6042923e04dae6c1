//! What takes the place of `clusters` in a program without the feature `remote`: there are none.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;

use super::refusal::Refusal;
use super::shared::Shared;
use crate::supervisor::Core;

#[derive(Serialize)]
pub(super) enum ClusterState {}

pub(super) fn of(_cores: &[Arc<Core>]) -> Vec<ClusterState> {
    Vec::new()
}

pub(super) async fn first_heard(_shared: &Arc<Shared>) {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Retry,
    Drop,
}

pub(super) async fn control(
    _shared: &Arc<Shared>,
    _key: &str,
    _id: &str,
    _verb: Verb,
) -> Result<Response, Refusal> {
    Err(Refusal::not_found("there is no such cluster"))
}
