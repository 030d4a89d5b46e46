//! How an event is written for a receiver.

use crate::engine::{endpoint::Shape, feed::Event};
use bytes::Bytes;

/// The body of a delivery. The native one has the bytes of `GET /v1/events/{id}`.
pub fn render(shape: Shape, event: &Event) -> Result<Bytes, serde_json::Error> {
    match shape {
        Shape::Native => serde_json::to_vec(event).map(Bytes::from),
    }
}
