//! Works on chunks from several threads and hands on what became of them in order, with little memory.
//!
//! Each thread has every so-manieth chunk and a place for one result that has not been taken. So results come in the
//! order of the chunks without being gathered, and at most two chunks a thread are in memory. A chunk of one huge row
//! is worked on by the caller's own thread when its turn has come: there is one of those at a time.

use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::model::Chunk;
use super::structure::MOST_CHUNK_BYTES;

/// Gives what `work` makes of each of `chunks` to `take`, in their order, until it breaks or one of them fails. A thread
/// begins with a `state` of its own, which it keeps for all its chunks. With one thread, or one chunk, all is done by
/// the caller's.
pub fn in_order<S, T: Send, E: Send>(
    chunks: &[&Chunk],
    threads: usize,
    state: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, &Chunk) -> Result<T, E> + Sync,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let threads = threads.min(chunks.len());
    if threads <= 1 {
        let mut own = state()?;
        for chunk in chunks {
            if take(work(&mut own, chunk)?)?.is_break() {
                break;
            }
        }
        return Ok(());
    }
    let (state, work) = (&state, &work);
    thread::scope(|scope| {
        let mut results = Vec::with_capacity(threads);
        for thread in 0..threads {
            let (sender, receiver) = sync_channel(1);
            results.push(receiver);
            scope.spawn(move || {
                let mut own = None;
                for chunk in chunks.iter().skip(thread).step_by(threads) {
                    let done =
                        (chunk.bytes <= MOST_CHUNK_BYTES).then(|| work(begun(&mut own, state)?, chunk));
                    // Whoever takes no more has all that was wanted.
                    if sender.send(done).is_err() {
                        return;
                    }
                }
            });
        }
        let mut own = None;
        for (chunk, thread) in chunks.iter().zip((0..threads).cycle()) {
            // A thread that is gone has panicked, which the scope passes on.
            let Ok(done) = results[thread].recv() else { break };
            let done = match done {
                Some(done) => done?,
                None => work(begun(&mut own, state)?, chunk)?,
            };
            if take(done)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

/// What is in `own`, which is begun where there is nothing yet.
fn begun<S, E>(own: &mut Option<S>, state: impl Fn() -> Result<S, E>) -> Result<&mut S, E> {
    Ok(match own {
        Some(own) => own,
        None => own.insert(state()?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::archive::model::ChunkKind;

    fn chunks(count: u32) -> Vec<Chunk> {
        let chunk = |range| Chunk {
            kind: ChunkKind::Rows,
            table: Some(0),
            range,
            piece: 0,
            offset: 0,
            length: 1,
            // Every tenth is one huge row.
            bytes: if range % 10 == 3 { MOST_CHUNK_BYTES + 1 } else { 100 },
            rows: 1,
            sha256: String::new(),
            spans: Vec::new(),
        };
        (0..count).map(chunk).collect()
    }

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        let chunks = chunks(57);
        let chunks: Vec<&Chunk> = chunks.iter().collect();
        for threads in [0, 1, 2, 3, 8, 57, 100] {
            let mut seen = Vec::new();
            let state = || Ok::<_, ()>(0_u32);
            let work = |_: &mut u32, chunk: &Chunk| Ok(chunk.range);
            in_order(&chunks, threads, state, work, |range| {
                seen.push(range);
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
            assert_eq!(seen, (0..57).collect::<Vec<_>>());
        }
    }

    #[test]
    fn whoever_has_enough_ends_the_work_soon_and_a_failure_does_too() {
        let chunks = chunks(1000);
        let chunks: Vec<&Chunk> = chunks.iter().collect();
        for fails in [false, true] {
            let begun = AtomicU64::new(0);
            let work = |_: &mut (), chunk: &Chunk| {
                begun.fetch_add(1, Ordering::Relaxed);
                if fails && chunk.range == 5 { Err("broken") } else { Ok(chunk.range) }
            };
            let enough =
                |range| Ok(if range == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
            let ended = in_order(&chunks, 4, || Ok(()), work, enough);
            assert_eq!(ended, if fails { Err("broken") } else { Ok(()) });
            assert!(begun.into_inner() < 30);
        }
    }

    #[test]
    fn a_huge_chunk_is_worked_on_by_the_thread_that_takes() {
        let chunks = chunks(40);
        let chunks: Vec<&Chunk> = chunks.iter().collect();
        let taker = thread::current().id();
        let work = |_: &mut (), chunk: &Chunk| Ok((chunk.bytes, thread::current().id()));
        in_order(
            &chunks,
            3,
            || Ok::<_, ()>(()),
            work,
            |(bytes, worker)| {
                assert_eq!(bytes > MOST_CHUNK_BYTES, worker == taker);
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap();
    }
}
