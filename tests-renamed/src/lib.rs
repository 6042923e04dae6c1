//! This package contains only tests.
