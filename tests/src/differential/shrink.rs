//! The shortest stream that still fails.
//!
//! Decides what is left out: whole batches, then single requests, in ever smaller parts, as long
//! as the same thing differs. Refuses to know what that is.

use super::Pair;
use super::report::Report;
use super::request::{Batch, Silence};
use super::stream::{self, Failure};

/// Most streams that are played to find a shorter one.
const ATTEMPTS_MAX: u32 = 600;

/// Says how a stream failed, how to have it fail again, and which of its requests it takes.
pub(super) fn tell(pair: &Pair, seed: u64, batches: &[Batch], failure: Failure) -> String {
    let mut told = format!(
        "{}\nagain: ZUFAR_DIFFERENTIAL_SEED={seed} ZUFAR_DIFFERENTIAL_REQUESTS=1 \
         scripts/test --test differential\n",
        failure.told
    );
    let mut shrinking = Shrinking {
        pair,
        seed,
        what: failure.what.clone(),
        attempts: 0,
    };
    let upto = &batches[..=failure.batch];
    let Some(mut failure) = shrinking.fails(upto) else {
        told.push_str("its requests alone do not fail again\n");
        return told;
    };
    let mut shortest = upto.to_vec();
    shrinking.shorten(&mut shortest, &mut failure, remove_batches);
    shrinking.shorten(&mut shortest, &mut failure, remove_requests);
    told.push_str("the shortest stream that fails:\n");
    for batch in &shortest {
        told.push_str(&format!("  connection {}:\n", batch.connection));
        for request in &batch.requests {
            told.push_str(&format!("    {}\n", request.told()));
        }
    }
    told.push_str(&failure.told);
    told
}

struct Shrinking<'a> {
    pair: &'a Pair,
    seed: u64,
    what: String,
    attempts: u32,
}

impl Shrinking<'_> {
    fn fails(&mut self, batches: &[Batch]) -> Option<Failure> {
        self.attempts += 1;
        let played = stream::play(self.pair, self.seed, batches, &mut Report::default());
        played.err().filter(|failure| failure.what == self.what)
    }

    /// Leaves out part after part, as long as the rest fails, halving the parts.
    fn shorten(
        &mut self,
        batches: &mut Vec<Batch>,
        failure: &mut Failure,
        remove: fn(&[Batch], usize, usize) -> Option<Vec<Batch>>,
    ) {
        let mut size = batches.iter().map(|batch| batch.requests.len()).sum();
        while size > 0 {
            let mut start = 0;
            while self.attempts < ATTEMPTS_MAX
                && let Some(fewer) = remove(batches, start, size)
            {
                match self.fails(&fewer) {
                    Some(found) => {
                        *batches = fewer;
                        *failure = found;
                    }
                    None => start += size,
                }
            }
            size /= 2;
        }
    }
}

/// The batches without `size` of them from `start` on; none when there is nothing to leave out.
/// The first one empties the servers and stays.
fn remove_batches(batches: &[Batch], start: usize, size: usize) -> Option<Vec<Batch>> {
    let start = start + 1;
    if start >= batches.len() {
        return None;
    }
    let end = (start + size).min(batches.len());
    Some([&batches[..start], &batches[end..]].concat())
}

/// The batches without `size` requests from the one of this number on. No-ops stay
/// where they tell that silence ends, and so do deletions that bring the servers together.
fn remove_requests(batches: &[Batch], start: usize, size: usize) -> Option<Vec<Batch>> {
    let mut fewer = batches.to_vec();
    let mut number = 0;
    let mut removed = 0;
    for batch in &mut fewer[1..] {
        let mut after_silence = false;
        batch.requests.retain(|request| {
            if request.fence {
                return std::mem::take(&mut after_silence);
            }
            let leaves = !request.mends && (start..start + size).contains(&number);
            number += usize::from(!request.mends);
            removed += usize::from(leaves);
            after_silence |= !leaves && request.silence != Silence::Never;
            !leaves
        });
    }
    fewer.retain(|batch| !batch.requests.is_empty());
    (removed > 0).then_some(fewer)
}
