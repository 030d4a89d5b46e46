//! One durable store, two databases.
