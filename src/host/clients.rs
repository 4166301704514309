//! The requests of this node's clients that wait for an answer.
//!
//! A request waits under a number of its own until it is answered, refused, or too old. The protocol
//! says what *stands for* it at present: raft the term in which it was sent, helix the command that
//! was made of it. Only an answer to that one counts, so a late answer to an earlier attempt
//! touches nothing.
//!
//! When it is full, new requests are refused at once. When the node ends, all are refused.

use std::time::Duration;

use bytes::Bytes;

use super::table::Table;
use crate::env::Time;
use crate::error::Refused;
use crate::scope::oneshot::Reply;

/// Somebody who waits.
pub(crate) trait Waiter {
    /// Tells that there will be no other answer.
    fn refuse(self, why: Refused);
}

impl<T> Waiter for Reply<Result<T, Refused>> {
    fn refuse(self, why: Refused) {
        self.send(Err(why));
    }
}

/// How much is admitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    /// Bytes of one command.
    pub(crate) command_bytes_max: usize,
    /// Requests that wait.
    pub(crate) requests_max: usize,
    /// Bytes of the requests that wait.
    pub(crate) bytes_max: usize,
    /// After this a request is refused: its outcome is unknown.
    pub(crate) patience: Duration,
}

struct Request<W, S> {
    payload: Bytes,
    since: Time,
    stands: Option<S>,
    waiter: W,
}

/// Requests, by number; `W` waits for each, and `S` stands for it.
pub(crate) struct Clients<W, S> {
    admission: Admission,
    requests: Table<Request<W, S>>,
    bytes: usize,
    closed: bool,
}

impl<W: Waiter, S: PartialEq> Clients<W, S> {
    /// `first` is the number of the first request: random, so that numbers of an earlier life of
    /// this node, which may still be on their way, are nobody's.
    pub(crate) fn new(first: u64, admission: Admission) -> Self {
        Self { admission, requests: Table::new(first), bytes: 0, closed: false }
    }

    /// Whether a command of `len` bytes may wait here.
    ///
    /// # Errors
    /// Why not; nothing has happened.
    pub(crate) fn admit(&self, len: usize) -> Result<(), Refused> {
        let Admission { command_bytes_max: len_max, requests_max, bytes_max, .. } = self.admission;
        if self.closed {
            return Err(Refused::ShuttingDown);
        }
        if len > len_max {
            return Err(Refused::TooLarge { len, len_max });
        }
        if self.requests.len() >= requests_max || self.bytes + len > bytes_max {
            return Err(Refused::Overloaded);
        }
        Ok(())
    }

    /// Takes a request in; returns its number.
    pub(crate) fn insert(&mut self, payload: Bytes, waiter: W, now: Time) -> u64 {
        self.bytes += payload.len();
        self.requests.insert(Request { payload, since: now, stands: None, waiter })
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// What a request asks for, and who waits for it.
    pub(crate) fn get(&self, number: u64) -> Option<(&Bytes, &W)> {
        self.requests.get(number).map(|request| (&request.payload, &request.waiter))
    }

    /// From now on this stands for the request. Returns what it asks for, if it still waits.
    pub(crate) fn stand(&mut self, number: u64, stands: S) -> Option<&Bytes> {
        let request = self.requests.get_mut(number)?;
        request.stands = Some(stands);
        Some(&request.payload)
    }

    /// The requests from number `from` on for which this stands, and which are older than `before`.
    pub(crate) fn standing<'a>(
        &'a self,
        from: u64,
        stands: &'a S,
        before: Time,
    ) -> impl Iterator<Item = (u64, &'a Bytes)> {
        let old = self.requests.iter_from(from);
        let old = old.take_while(move |(_, request)| request.since < before);
        let standing = old.filter(move |(_, request)| request.stands.as_ref() == Some(stands));
        standing.map(|(number, request)| (number, &request.payload))
    }

    /// Whether it waits, and nothing stands for it.
    pub(crate) fn is_idle(&self, number: u64) -> bool {
        self.requests.get(number).is_some_and(|request| request.stands.is_none())
    }

    /// The one who waits for the request, who no longer does, if this stands for it.
    pub(crate) fn take(&mut self, number: u64, stands: &S) -> Option<W> {
        let request = self.requests.get(number)?;
        if request.stands.as_ref() != Some(stands) {
            return None;
        }
        self.remove(number).map(|request| request.waiter)
    }

    /// Lets nothing stand for the requests that `which` picks by what stands for them; returns
    /// their numbers, in order.
    pub(crate) fn release(&mut self, which: impl Fn(&S) -> bool) -> Vec<u64> {
        let requests = self.requests.iter_mut();
        let released = requests.filter_map(|(number, request)| {
            request.stands.take_if(|stands| which(stands)).map(|_| number)
        });
        released.collect()
    }

    /// Refuses the requests that `which` picks by what stands for them.
    pub(crate) fn refuse_where(&mut self, why: &Refused, which: impl Fn(&S) -> bool) {
        self.refuse(why, |request| request.stands.as_ref().is_some_and(&which));
    }

    /// Refuses those that have waited too long; returns what stood for them.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<S> {
        let mut stood = Vec::new();
        while let Some((number, request)) = self.requests.first()
            && now.since(request.since) >= self.admission.patience
        {
            let request = self.remove(number);
            stood.extend(request.and_then(|request| request.refuse(&Refused::TimedOut)));
        }
        stood
    }

    /// When the oldest will have waited too long.
    pub(crate) fn due(&self) -> Time {
        let oldest = self.requests.first().map(|(_, request)| request.since);
        oldest.map_or(Time::NEVER, |since| since + self.admission.patience)
    }

    /// Refuses everybody, now and from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.refuse(&Refused::ShuttingDown, |_| true);
    }

    fn remove(&mut self, number: u64) -> Option<Request<W, S>> {
        let request = self.requests.remove(number)?;
        self.bytes -= request.payload.len();
        Some(request)
    }

    fn refuse(&mut self, why: &Refused, which: impl Fn(&Request<W, S>) -> bool) {
        for request in self.requests.extract(which) {
            self.bytes -= request.payload.len();
            request.refuse(why);
        }
    }
}

impl<W: Waiter, S> Request<W, S> {
    /// Returns what stood for it.
    fn refuse(self, why: &Refused) -> Option<S> {
        self.waiter.refuse(why.clone());
        self.stands
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::oneshot::{Answer, oneshot};
    use futures_lite::future::{block_on, poll_once};

    const SECOND: u64 = 1_000_000_000;
    const ADMISSION: Admission = Admission {
        command_bytes_max: 8,
        requests_max: 3,
        bytes_max: 10,
        patience: Duration::from_secs(5),
    };

    type Told = Answer<Result<u8, Refused>>;

    fn clients() -> Clients<Reply<Result<u8, Refused>>, u32> {
        Clients::new(100, ADMISSION)
    }

    fn ask(clients: &mut Clients<Reply<Result<u8, Refused>>, u32>, at: u64) -> (u64, Told) {
        let (reply, answer) = oneshot();
        (clients.insert(Bytes::from_static(b"ab"), reply, Time(at * SECOND)), answer)
    }

    #[test]
    fn those_that_stand_for_something_and_are_old_are_found_from_a_number_on() {
        let mut clients = Clients::new(4, ADMISSION);
        for (request, stands) in [(1, 'a'), (2, 'b'), (3, 'a'), (4, 'a'), (5, 'a')] {
            let (reply, _answer) = oneshot::<Result<(), Refused>>();
            let number = clients.insert(Bytes::new(), reply, Time(request));
            clients.stand(number, stands);
        }
        let found = |from| {
            let found = clients.standing(from, &'a', Time(5));
            found.map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(found(0), [4, 6, 7]);
        assert_eq!(found(5), [6, 7]);
        assert!(found(8).is_empty());
    }

    #[test]
    fn only_what_stands_for_a_request_answers_it() {
        let mut clients = clients();
        let (number, mut answer) = ask(&mut clients, 0);
        assert!(clients.is_idle(number));
        clients.stand(number, 1);
        clients.stand(number, 2);
        assert!(clients.take(number, &1).is_none(), "an earlier attempt");
        assert!(block_on(poll_once(&mut answer)).is_none());
        clients.take(number, &2).expect("it waits").send(Ok(7));
        assert_eq!(block_on(answer), Some(Ok(7)));
        assert_eq!((clients.len(), clients.bytes), (0, 0));
    }

    #[test]
    fn more_than_the_limits_is_refused_and_the_others_wait_on() {
        let mut clients = clients();
        assert_eq!(clients.admit(9), Err(Refused::TooLarge { len: 9, len_max: 8 }));
        let _waiting: Vec<_> = (0..2).map(|_| ask(&mut clients, 0)).collect();
        assert_eq!(clients.admit(6), Ok(()));
        assert_eq!(clients.admit(7), Err(Refused::Overloaded), "too many bytes");
        let _third = ask(&mut clients, 0);
        assert_eq!(clients.admit(0), Err(Refused::Overloaded), "too many requests");
        assert_eq!(clients.len(), 3);
    }

    #[test]
    fn a_request_that_waits_too_long_is_refused_at_its_deadline() {
        let mut clients = clients();
        let (number, early) = ask(&mut clients, 1);
        let (_, mut late) = ask(&mut clients, 2);
        clients.stand(number, 4);
        assert_eq!(clients.due(), Time(6 * SECOND));
        assert!(clients.expire(Time(6 * SECOND - 1)).is_empty());
        assert_eq!(clients.expire(Time(6 * SECOND)), [4]);
        assert_eq!(block_on(early), Some(Err(Refused::TimedOut)));
        assert!(block_on(poll_once(&mut late)).is_none());
        assert_eq!(clients.due(), Time(7 * SECOND));
    }

    #[test]
    fn what_is_released_waits_for_another_attempt() {
        let mut clients = clients();
        let numbers: Vec<_> = (0..3).map(|_| ask(&mut clients, 0).0).collect();
        clients.stand(numbers[0], 1);
        clients.stand(numbers[1], 2);
        assert_eq!(clients.release(|&term| term < 2), [numbers[0]]);
        assert!(clients.is_idle(numbers[0]) && !clients.is_idle(numbers[1]));
    }

    #[test]
    fn closing_refuses_everybody_now_and_later() {
        let mut clients = clients();
        let answers = [ask(&mut clients, 0).1, ask(&mut clients, 0).1];
        clients.close();
        for answer in answers {
            assert_eq!(block_on(answer), Some(Err(Refused::ShuttingDown)));
        }
        assert_eq!(clients.admit(1), Err(Refused::ShuttingDown));
    }
}
