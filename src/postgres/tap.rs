//! The data of `COPY … TO STDOUT`, taken out of a connection's bytes before the driver sees them.
//!
//! The driver hands COPY data out row by row, each as an object of its own: a second of a core for ten million rows. The
//! tap stands between the socket (or the TLS over it) and the driver, knows no more of the protocol than how messages
//! are framed (manual, 55.7), and passes everything on but CopyOutResponse, CopyData and CopyDone of a [`CopyOut`]: these
//! go to it in large blocks, as they lie in the read buffer. The driver sees a statement that returns no rows, so that
//! several COPYs may stand in one query. The tap also notes which process the other end says that it is (BackendKeyData):
//! the driver keeps that to itself.
//!
//! Memory: one read buffer, and as many blocks as the channel holds. When that is full nothing more is read, and the
//! server waits.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error, SimpleQueryMessage};
use tokio_util::sync::PollSender;

/// What is read from the socket at once, at most.
const READ_BYTES: usize = 256 << 10;

/// With less room than this the next read gets a new buffer.
const LEAST_READ_BYTES: usize = 32 << 10;

/// Blocks that wait for whoever takes them, so that reading goes on meanwhile.
const BLOCKS: usize = 4;

/// A message's type and length.
const HEADER_BYTES: usize = 5;

/// A piece of what one query's COPYs send.
#[derive(Debug)]
pub enum CopyEvent {
    /// The next `COPY … TO STDOUT` begins.
    Begin,
    /// CopyData messages as they came, framed. A block may begin and end in the middle of a message.
    Data(Bytes),
    /// The COPY is done.
    End,
}

/// The process and the key of BackendKeyData; of those only the process is looked at.
const PROCESS_BYTES: usize = 4;

/// Where the tap finds out who wants the data, and where it says what it has noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taker: Mutex<Option<mpsc::Sender<CopyEvent>>>,
    process: OnceLock<i32>,
}

impl Wanted {
    fn set(&self, sender: Option<mpsc::Sender<CopyEvent>>) {
        *self.0.taker.lock().unwrap_or_else(PoisonError::into_inner) = sender;
    }

    fn get(&self) -> Option<mpsc::Sender<CopyEvent>> {
        self.0.taker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process that the other end says it is (BackendKeyData), once it has.
    pub(crate) fn process(&self) -> Option<i32> {
        self.0.process.get().copied()
    }
}

/// A stream of bytes from a server, without the COPY data that somebody else wants.
#[derive(Debug)]
pub(crate) struct Tap<S> {
    inner: S,
    wanted: Wanted,
    buffer: BytesMut,
    /// Bytes of the current message that are still to come, and where they go.
    rest: usize,
    kind: Rest,
    /// Whoever takes the COPY that is under way.
    taker: Option<PollSender<CopyEvent>>,
    /// What the taker has no room for yet.
    waiting: Option<CopyEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// To the driver.
    Passed,
    /// To the taker, in a block.
    Taken,
    /// To nobody: the taker has been told already.
    Dropped,
}

impl<S> Tap<S> {
    pub(crate) fn new(inner: S, wanted: Wanted) -> Self {
        let (rest, kind) = (0, Rest::Passed);
        Tap { inner, wanted, buffer: BytesMut::new(), rest, kind, taker: None, waiting: None }
    }

    /// The message that begins in the buffer: how long it is and where it goes. False until enough of it is there to
    /// tell.
    fn begin_message(&mut self) -> io::Result<bool> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(false) };
        let [tag, length @ ..] = *header;
        // The length counts itself, and not the tag.
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length >= 4);
        let length = length.ok_or_else(|| invalid("a message of impossible length"))?;
        if tag == b'K' && length >= 4 + PROCESS_BYTES {
            let Some(process) = self.buffer[HEADER_BYTES..].first_chunk::<PROCESS_BYTES>() else {
                return Ok(false);
            };
            // There is but one for a session.
            let _ = self.wanted.0.process.set(i32::from_be_bytes(*process));
        }
        self.rest = length + 1;
        self.kind = match (tag, &self.taker) {
            (b'H', None) => match self.wanted.get() {
                Some(sender) => {
                    self.taker = Some(PollSender::new(sender));
                    self.waiting = Some(CopyEvent::Begin);
                    Rest::Dropped
                }
                None => Rest::Passed,
            },
            (b'd', Some(_)) => Rest::Taken,
            (b'c', Some(_)) => {
                self.waiting = Some(CopyEvent::End);
                Rest::Dropped
            }
            // The server has ended the COPY by an error, which the driver tells.
            (b'E', Some(_)) => {
                self.taker = None;
                Rest::Passed
            }
            _ => Rest::Passed,
        };
        Ok(true)
    }

    /// Takes all CopyData that the buffer holds from its beginning on, in one block.
    fn take_block(&mut self) {
        let mut end = self.rest.min(self.buffer.len());
        let mut rest = self.rest - end;
        while rest == 0
            && let Some([b'd', length @ ..]) =
                self.buffer.get(end..).and_then(|b| b.first_chunk::<HEADER_BYTES>())
            && let Ok(length @ 4..) = usize::try_from(i32::from_be_bytes(*length))
        {
            let there = (length + 1).min(self.buffer.len() - end);
            end += there;
            rest = length + 1 - there;
        }
        self.rest = rest;
        self.waiting = Some(CopyEvent::Data(self.buffer.split_to(end).freeze()));
    }

    /// Hands over what waits. A taker that is gone is given nothing, and the rest of its data is dropped.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            return Poll::Ready(());
        }
        let Some(taker) = &mut self.taker else {
            self.waiting = None;
            return Poll::Ready(());
        };
        let reserved = ready!(taker.poll_reserve(cx));
        let Some(event) = self.waiting.take() else { return Poll::Ready(()) };
        let is_end = matches!(event, CopyEvent::End);
        if reserved.is_ok() {
            // Room was reserved; whoever drops the receiver meanwhile wants nothing.
            let _ = taker.send_item(event);
        }
        if is_end {
            self.taker = None;
        }
        Poll::Ready(())
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let filled = out.filled().len();
        loop {
            if this.poll_hand_over(cx).is_pending() {
                // What the driver has got it shall see, and then come back.
                return if out.filled().len() > filled { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.rest == 0 && !this.begin_message()? || this.buffer.is_empty() {
                if out.filled().len() > filled {
                    return Poll::Ready(Ok(()));
                }
                // Blocks that were handed over share its memory until it is used up.
                if this.buffer.capacity() - this.buffer.len() < LEAST_READ_BYTES {
                    this.buffer.reserve(READ_BYTES);
                }
                let before = this.buffer.len();
                let read = tokio_util::io::poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.buffer);
                ready!(read)?;
                if this.buffer.len() == before {
                    // The end. A message that is not whole goes to the driver, which complains.
                    out.put_slice(&this.buffer.split());
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let there = this.rest.min(this.buffer.len());
            match this.kind {
                Rest::Passed => {
                    let length = there.min(out.remaining());
                    out.put_slice(&this.buffer[..length]);
                    this.buffer.advance(length);
                    this.rest -= length;
                }
                Rest::Dropped => {
                    this.buffer.advance(there);
                    this.rest -= there;
                }
                Rest::Taken => this.take_block(),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// Puts a tap over the TLS that `connect` makes.
pub(crate) struct TapConnect<C> {
    pub(crate) connect: C,
    pub(crate) wanted: Wanted,
}

impl<S, C> TlsConnect<S> for TapConnect<C>
where
    C: TlsConnect<S>,
    C::Future: Send + 'static,
    C::Stream: 'static,
    C::Error: 'static,
{
    type Stream = Tap<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let (connecting, wanted) = (self.connect.connect(stream), self.wanted);
        Box::pin(async move { Ok(Tap::new(connecting.await?, wanted)) })
    }
}

/// The COPYs of one query as they come. Dropped before its end, the rest of what the server sends is thrown away; to make
/// the server stop, [cancel](super::session::Session::cancel).
pub struct CopyOut<'a> {
    query: Pin<Box<dyn Future<Output = Result<Vec<SimpleQueryMessage>, Error>> + Send + 'a>>,
    events: mpsc::Receiver<CopyEvent>,
    wanted: Wanted,
    ended: Option<Result<Vec<SimpleQueryMessage>, Error>>,
}

impl<'a> CopyOut<'a> {
    /// Runs `sql`, a simple query (so that it may hold several statements), and takes what its COPYs send.
    pub(crate) fn new(client: &'a Client, wanted: Wanted, sql: String) -> CopyOut<'a> {
        let (sender, events) = mpsc::channel(BLOCKS);
        wanted.set(Some(sender));
        let query = Box::pin(async move { client.simple_query(&sql).await });
        CopyOut { query, events, wanted, ended: None }
    }

    /// The next event, or none when all statements have ended well. What came before an error is given first.
    pub async fn next(&mut self) -> Result<Option<CopyEvent>, Error> {
        if self.ended.is_none() {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Ok(Some(event)),
                ended = &mut self.query => self.ended = Some(ended),
            }
        }
        // The tap hands over before it passes on, so that all is there by now.
        if let Ok(event) = self.events.try_recv() {
            return Ok(Some(event));
        }
        match self.ended.take() {
            Some(Err(error)) => {
                self.ended = Some(Ok(Vec::new()));
                Err(error)
            }
            ended => {
                self.ended = ended;
                Ok(None)
            }
        }
    }

    /// What the server says of each statement that has ended: rows of a COPY, in the order of the query; after the end.
    pub fn counts(&self) -> Vec<u64> {
        let messages = self.ended.as_ref().and_then(|ended| ended.as_ref().ok());
        let count = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        };
        messages.into_iter().flatten().filter_map(count).collect()
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        self.wanted.set(None);
    }
}

/// Takes the messages out of blocks, and puts those together again that a block's end has cut.
#[derive(Debug, Default)]
pub struct CopyMessages {
    cut: Vec<u8>,
}

impl CopyMessages {
    /// What the next message holds, taken from the front of `block`; none when there is no whole one left. The rest is
    /// kept for the next block.
    pub fn next<'b>(&mut self, block: &mut &'b [u8]) -> Option<Cow<'b, [u8]>> {
        if self.cut.is_empty() {
            if let Some(length) = message_length(block)
                && let Some((message, rest)) = block.split_at_checked(length)
            {
                *block = rest;
                return Some(Cow::Borrowed(&message[HEADER_BYTES..]));
            }
            self.cut.extend_from_slice(block);
            *block = &[];
            return None;
        }
        // First the rest of the header, which says how much more it takes.
        for _ in 0..2 {
            let length = message_length(&self.cut).unwrap_or(HEADER_BYTES);
            let missing = length.saturating_sub(self.cut.len()).min(block.len());
            let (taken, rest) = block.split_at(missing);
            self.cut.extend_from_slice(taken);
            *block = rest;
        }
        if message_length(&self.cut) != Some(self.cut.len()) {
            return None;
        }
        let mut message = std::mem::take(&mut self.cut);
        message.drain(..HEADER_BYTES);
        Some(Cow::Owned(message))
    }
}

/// How long the message is that begins here, once its header is there. The tap has looked at the length.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *bytes.first_chunk::<HEADER_BYTES>()?;
    Some(u32::from_be_bytes(length) as usize + 1)
}
