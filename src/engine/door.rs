//! The short way to a receiver.
//!
//! A lane that has room takes a delivery in the transaction that writes it: the row is leased from its first
//! moment on, and handed over after the commit. So nothing is claimed and no event is read for it. What finds no
//! room is due, and is claimed later; what is lost on the way is due when its lease ends.

use super::{delivery::Claimed, feed::Told};
use goodword_core::time::Timestamp;
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Room in one endpoint's lane.
#[derive(Default)]
pub struct Door {
    room: AtomicUsize,
    taken: AtomicUsize,
}

impl Door {
    /// For so many there is room, those counted that are on their way.
    pub fn set_room(&self, room: usize) {
        self.room.store(room, Ordering::Release);
    }

    fn enter(self: &Arc<Self>) -> Option<Seat> {
        let room = self.room.load(Ordering::Acquire);
        let one_more = |taken| (taken < room).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Seat(self.clone()))
    }
}

/// Room that a delivery has which is on its way, whatever becomes of it.
pub struct Seat(Arc<Door>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An event, and the deliveries of it that were taken.
pub struct Handed {
    pub event: Told,
    pub taken: Vec<(Claimed, Seat)>,
    /// When they were, by the clock outside.
    pub at: Timestamp,
}

/// The doors of this process. All are closed while nobody delivers.
#[derive(Default)]
pub struct Doors(RwLock<Open>);

#[derive(Default)]
struct Open {
    /// In whose name is leased, and whom is handed to.
    to: Option<(Uuid, mpsc::UnboundedSender<Handed>)>,
    doors: HashMap<Uuid, Arc<Door>>,
}

impl Doors {
    /// From now on, what finds room is handed over there. It is bounded by the room.
    pub fn open(&self, node: Uuid) -> mpsc::UnboundedReceiver<Handed> {
        let (to, handed) = mpsc::unbounded_channel();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Open { to: Some((node, to)), doors: HashMap::new() };
        handed
    }

    /// Closes all.
    pub fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Open::default();
    }

    pub fn add(&self, endpoint: Uuid, door: Arc<Door>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).doors.insert(endpoint, door);
    }

    pub fn remove(&self, endpoint: Uuid) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).doors.remove(&endpoint);
    }

    /// Room for one delivery to an endpoint, and the node that has it.
    pub(super) fn enter(&self, endpoint: Uuid) -> Option<(Uuid, Seat)> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (node, _) = open.to.as_ref().filter(|(_, to)| !to.is_closed())?;
        Some((*node, open.doors.get(&endpoint)?.enter()?))
    }

    /// Hands over what is committed.
    pub(super) fn hand(&self, handed: impl IntoIterator<Item = Handed>) {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, to)) = &open.to {
            // Where nobody takes it any more, it is due when its lease ends.
            handed.into_iter().for_each(|handed| drop(to.send(handed)));
        }
    }
}
