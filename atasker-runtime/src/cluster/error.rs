//! The errors of clusters.

/// What is wrong with a cluster, or with a request to it.
///
/// Each error says in its text what to do. The error of a task is
/// [`TaskError::Cluster`](crate::TaskError::Cluster).
///
/// ```
/// # use atasker_runtime as atasker;
/// use atasker::{ClusterError, TaskError};
/// /// Whether the program has forgotten to join a cluster.
/// fn is_not_joined(error: &TaskError) -> bool {
///     matches!(error, TaskError::Cluster(ClusterError::NotJoined))
/// }
/// # assert!(is_not_joined(&TaskError::Cluster(ClusterError::NotJoined)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The supervisor of the task has joined no cluster.
    #[error(
        "the supervisor has joined no cluster: call `supervisor().join_cluster(&cluster)` before the \
         launch, or name the cluster with the key or setter `cluster`"
    )]
    NotJoined,
    /// The broker can't be reached, or has not answered in time.
    #[error("the broker is not reachable: {detail}")]
    Unreachable {
        /// Which one, and why.
        detail: String,
    },
    /// The broker rejects the credentials, or a right is missing.
    #[error("the broker denies access: {detail}")]
    Denied {
        /// What was denied.
        detail: String,
    },
    /// The broker is there, but can't do what is needed.
    #[error("the broker can't serve a cluster: {detail}")]
    Unavailable {
        /// What is missing.
        detail: String,
    },
    /// The namespace has other settings at the broker. Nothing was changed there.
    #[error(
        "the cluster was set up with other settings: `{what}` is {here} here and {there} at the broker; \
         use the same settings in all programs, or another namespace"
    )]
    Mismatch {
        /// The setting.
        what: &'static str,
        /// Its value in this program.
        here: String,
        /// Its value at the broker.
        there: String,
    },
    /// Arguments or a result are too large.
    #[error("{bytes} bytes of arguments or results are more than the limit of {limit}")]
    TooLarge {
        /// The length in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The cluster knows no call with this id: it was never stored, or was kept for long enough.
    #[error(
        "not found: {detail}; calls and their outcomes are kept for the time that the setting `keep` says"
    )]
    NotFound {
        /// What was asked for.
        detail: String,
    },
    /// The key of the call, which is unique, is held by another call: nothing was launched.
    #[error("call {id} holds the same unique key: wait for its end, or cancel it")]
    Duplicate {
        /// The id of the call that holds the key.
        id: crate::id::TaskId,
    },
    /// The call is one of another function, or of one with other types.
    #[error("the call is one of `{there}`, not of `{here}`")]
    OtherFunction {
        /// The function, or the types, that the caller expects.
        here: String,
        /// Those of the call.
        there: String,
    },
    /// What is stored was written by another version of this library, which can't be read here.
    #[error(
        "written by a version of atasker that this one can't read: {detail}; update this program"
    )]
    Incompatible {
        /// What can't be read.
        detail: String,
    },
    /// A setting or an argument is not valid.
    #[error("{detail}")]
    Invalid {
        /// What is wrong, and how to fix it.
        detail: String,
    },
    /// This program has closed the cluster.
    #[error("the cluster was closed by this program: connect again")]
    Closed,
}

impl ClusterError {
    pub(crate) fn invalid(detail: impl Into<String>) -> ClusterError {
        ClusterError::Invalid { detail: detail.into() }
    }

    pub(crate) fn unreachable(detail: impl Into<String>) -> ClusterError {
        ClusterError::Unreachable { detail: detail.into() }
    }

    /// Returns the error of a task for which this is the reason.
    pub(crate) fn into_task_error(self) -> crate::error::TaskError {
        crate::error::TaskError::Cluster(self)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> ClusterError {
        ClusterError::NotFound { detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let text = ClusterError::NotJoined.to_string();
        assert!(text.contains("join_cluster") && text.contains("`cluster`"), "{text}");
        let mismatch =
            ClusterError::Mismatch { what: "keep", here: "1 day".into(), there: "2 days".into() };
        assert!(mismatch.to_string().contains("`keep` is 1 day here and 2 days at the broker"));
        assert!(ClusterError::not_found("call 1-2").to_string().starts_with("not found: call 1-2"));
        // Small enough to be no reason for a larger `TaskError`.
        assert!(size_of::<crate::TaskError>() <= 72);
        assert_eq!(ClusterError::invalid("x").to_string(), "x");
        assert!(ClusterError::unreachable("y").to_string().ends_with("y"));
    }
}
