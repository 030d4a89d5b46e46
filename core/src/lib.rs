//! What Goodword means.
