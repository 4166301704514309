//! Liars: small programs that hold the keys of one node and stand on its place in the network.
//!
//! Most of them have a *puppet*, an honest engine of that identity, so that they are always where
//! the others are, vote in time and are elected like anybody else; and a [`Trick`], which sees each
//! word that the puppet hears or would say, and decides what really leaves. A trick can say
//! whatever it likes, to whom it likes, as often as it likes, signed with its own keys or not at
//! all. It can even send frames in another one's name ([`Hand::send_as`]), as somebody on the wire
//! could. What it cannot do is sign for anybody else.
//!
//! In reading order: [`hand`] (what a liar can do), [`tricks`] (what each of them does).

pub mod hand;
pub mod tricks;

pub use hand::{Hand, Trick};
pub use tricks::Lie;
