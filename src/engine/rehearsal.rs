//! What a change would bring about: made by the very code that would make it, and taken back.

use super::{
    Engine, Error, Result,
    work::{Act, Context, Work},
};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

struct Rehearsal<A: Act> {
    act: A,
    answer: Arc<Mutex<Option<A::Output>>>,
}

impl<A: Act> Act for Rehearsal<A> {
    type Output = Infallible;
    // It fails on purpose, after it wrote.
    const MAY_SHARE: bool = false;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Infallible> {
        let answer = self.act.act(work).await?;
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        // Nothing is kept of a change that fails.
        Err(Error::Conflict { reason: None, detail: "this was a rehearsal".into() })
    }
}

impl Engine {
    /// What [`Engine::run`] would answer, with nothing done. Ids in the answer are of things that are not there.
    pub async fn rehearse<A: Act>(&self, context: Context, act: A) -> Result<A::Output> {
        let answer = Arc::new(Mutex::new(None));
        let Err(error) = self.run(context, Rehearsal { act, answer: answer.clone() }).await;
        answer.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(error)
    }
}
