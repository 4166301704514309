//! The engine: what people hold and run who bring blocks of their own.
//!
//! [`Engine::start`] returns a handle and a [`Life`], a future to be run on the embedder's executor;
//! it ends when the node is shut down or must stop. Dropping it is `kill -9`: as safe, and as rude.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::FutureExt;
use futures_lite::future::yield_now;

use crate::env::Env;
use crate::error::Fatal;
use crate::helix::protocol::app::App;
use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::config::Config;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::event::{Event, Observer};
use crate::helix::protocol::mailbox::{Next, Present};
use crate::helix::protocol::message::Message;
use crate::helix::protocol::proof::BlockProof;
use crate::helix::protocol::recover::{Tip, recover};
use crate::helix::protocol::signer::Strictness;
use crate::helix::protocol::status::Status;
use crate::helix::protocol::sync::{self, Learned};
use crate::helix::protocol::term::{self, Ended, vouched};
use crate::host::shutdown::{Stop, drain};
use crate::host::{Life, Vitals};
use crate::id::{Height, NodeId, View};
use crate::scope::budget::Budget;
use crate::scope::first::Named;

/// The first pause before a delivery that failed is tried again; it doubles up to 64 times this.
const DELIVER_AGAIN: Duration = Duration::from_millis(100);

/// A handle on a running engine; clones are handles on the same one.
#[derive(Clone)]
pub struct Engine(Rc<Core>);

impl Engine {
    /// Opens the journal and makes a node that is ready to run.
    ///
    /// # Errors
    /// [`Fatal`]: the data directory is locked, damaged, or another node's; see its text.
    pub fn start(
        config: Config,
        env: Env,
        app: App,
        observer: Observer,
    ) -> Result<(Self, Life), Fatal> {
        let (journal, recovered) = recover(&config, &env)?;
        let core = Rc::new(Core::new(config, env, journal, app, observer, recovered));
        let ending = core.clone();
        let life = Life::new(core.me(), live(core.clone()), move || ending.env.disk.close());
        Ok((Self(core), life))
    }

    /// Tells the node that a block is decided: it goes on after it. The block is taken on trust:
    /// check it with [`validate_block_consensus`](Self::validate_block_consensus) first. It is not
    /// delivered. Of several such words that wait, the highest wins; one at or below what is decided
    /// here already has no effect.
    pub fn update_state(&self, block: Block, proof: BlockProof) {
        let (block, proof) = (Rc::new(block), Rc::new(proof));
        self.0.sync.told(&self.0, Learned { block, proof, from: None });
    }

    /// Checks a block against its proof, with the committee of its height. `previous` is the block
    /// before it with its proof, if there is one.
    ///
    /// # Errors
    /// A text saying what is wrong; also if the committee is not known.
    ///
    /// Cancel safe.
    pub async fn validate_block_consensus(
        &self,
        block: &Block,
        proof: &BlockProof,
        previous: Option<(&Block, &BlockProof)>,
        strictness: Strictness,
    ) -> Result<(), String> {
        let core = &self.0;
        let instance = core.config.instance;
        let signature = previous.and_then(|(_, proof)| proof.seed.clone()).unwrap_or_default();
        let seed = Seed::of(instance, block.height, &signature);
        let before = previous.map_or(Hash::NONE, |(block, _)| block.hash(instance));
        if block.previous != before {
            return Err("the block does not follow the one before".into());
        }
        let previous = previous.map(|(block, _)| block);
        let members = core.membership.committee(block.height, seed, previous).await?;
        let committee = Committee::new(members).map_err(|why| why.to_string())?;
        let proven = core.signer.is_block_proof(&committee, block, proof, &seed, strictness);
        proven.map_err(|wrong| wrong.to_string())
    }

    /// Sends a message of the layer above to a peer: it arrives at its
    /// [`Chain::heard`](super::app::Chain::heard), or is lost. It is not signed.
    pub fn tell(&self, to: NodeId, message: Bytes) {
        self.0.tell(to, &Message::App(message));
    }

    /// This moment of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.0;
        let (published, now, tip) = (&core.published, core.now(), core.tip());
        let millis = |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let peers = core.sync.peers();
        Status {
            node: core.me(),
            instance: core.config.instance,
            height: published.height(),
            view: published.view(),
            leader: published.leader(),
            member: published.member(),
            tip: tip.height,
            proposer: tip.block().map(|block| block.proposer),
            delivered: published.delivered(),
            promised: self.promised(),
            trouble: published.trouble(),
            evidence: core.evidence_pool().iter().cloned().collect(),
            signed: core.signer.signed(),
            verified: core.signer.verified(),
            kept: core.mailbox.kept(),
            peers: peers.into_iter().map(|(node, tip, at)| (node, tip, millis(at))).collect(),
            vitals: Vitals {
                malformed: core.mailbox.malformed(),
                ..Vitals::of(&core.journal, &core.env.net)
            },
        }
    }

    /// The highest height for which it has signed a COMMIT, or whose decision it knows.
    #[must_use]
    pub fn promised(&self) -> Height {
        let tip = self.0.tip().height;
        if self.0.vote_state().locked.is_some() { tip.next() } else { tip }
    }

    /// Whether the disk has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.journal.is_full()
    }

    /// Hands the node over to the simulator's cancel injector, before its life begins.
    #[cfg(feature = "sim")]
    pub(crate) fn expose_to(&self, cancel_injector: crate::scope::cancel::CancelInjector) {
        self.0.cancel_injector.replace(cancel_injector);
    }

    /// Ends the node's life in good order: what was promised is synced, what may be said is said, and
    /// [`Life`] returns. Returns at once; await the life for the end.
    pub fn shutdown(&self) {
        self.0.shutdown.ask(&self.0.wake);
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?}, {:?})", self.0.me(), self.0.tip().height)
    }
}

/// The life of a node: its heights, its journal, and its ways to the others, until one must stop.
pub(super) async fn live(core: Rc<Core>) -> Result<(), Fatal> {
    let mut journal = pin!(core.journal.run());
    let Err(stop) = {
        // Pinned here, once: a future that is handed on by value is stored twice.
        let (heights, serve) = (pin!(heights(&core)), pin!(sync::serve(&core)));
        let (announce, sync) = (pin!(core.announce()), pin!(sync::run(&core)));
        let write = pin!(core.write_decisions());
        (&mut journal)
            .named(|fatal| Err(Stop::Fatal(fatal)))
            .or(heights)
            .or(serve.named(|fatal| Err(Stop::Fatal(fatal))))
            .or(write.named(Ok))
            .or(announce.named(Ok))
            .or(sync.named(Ok))
            .await
    };
    match stop {
        Stop::Fatal(fatal) => Err(fatal),
        Stop::Shutdown => settled(&core).named(Ok).or(journal.named(Err)).await,
    }
}

/// Height after height, until the node must stop.
///
/// The simulator may drop them at any of their polls.
async fn heights(core: &Core) -> Result<Infallible, Stop> {
    #[cfg(feature = "sim")]
    {
        let injector = core.cancel_injector.borrow().clone();
        let before = injector.cancels();
        let heights = injector.over(|| {
            if injector.cancels() > before {
                let height = core.tip().height.next();
                let why = crate::helix::protocol::event::CANCELLED;
                core.observer.tell(|| Event::TermLeft { height, why });
            }
            each_height(core)
        });
        heights.await
    }
    #[cfg(not(feature = "sim"))]
    each_height(core).await
}

async fn each_height(core: &Core) -> Result<Infallible, Stop> {
    deliver_again(core).await?;
    loop {
        if core.config.stop_at.is_some_and(|last| core.tip().height >= last) {
            return Err(core.attend().await);
        }
        let ended = term::run(core).await?;
        let learned = matches!(ended, Ended::Learned(_));
        follow(core, ended).await?;
        if learned {
            // Many may have arrived at once, and each takes a quorum of signatures to check: clients
            // are answered in between.
            yield_now().await;
        }
    }
}

/// Puts the block with which a term ended on the chain, and delivers it.
async fn follow(core: &Core, ended: Ended) -> Result<(), Stop> {
    let (block, proof, learned) = match ended {
        Ended::Decided(block, proof) => (block, proof, None),
        Ended::Learned(Learned { block, proof, from }) => (block, proof, Some(from)),
    };
    let (height, view, hash) = (proof.height, proof.view, proof.hash);
    core.observer.tell(|| match learned {
        None => Event::Decided { height, view, hash },
        Some(_) => Event::Learned { height, hash },
    });
    tracing::info!(node = %core.me(), %height, %view, %hash, ?learned, "decided");
    let may_lead = learned.is_none();
    core.extend(Tip::after(&core.config, block.clone(), proof.clone(), may_lead));
    if learned == Some(None) {
        // The application told us: it has the block.
        core.published.set_delivered(height);
        return Ok(());
    }
    deliver(core, &block, &proof).await
}

/// Delivers what an earlier life decided and the application does not have.
async fn deliver_again(core: &Core) -> Result<(), Stop> {
    let (mut height, tip) = (core.chain.height(), core.tip().height);
    height = height.max(core.published.delivered());
    core.published.set_delivered(height);
    while height < tip {
        let bytes_max = core.config.limits.fetch_bytes_max;
        // The last one may be on its way to the disk, if it is this life that decided it.
        let last = core.tip().decided.clone().filter(|_| height.next() == tip);
        let blocks = match last {
            Some(last) => vec![last],
            None => core.block_store().read(&core.journal, height.next(), bytes_max)?,
        };
        if blocks.is_empty() {
            let next = height.next();
            core.trouble(format!("block {next} is not in the journal: give it to the application"));
            let learned = vouched(core, next).named(Ok).or(core.attend().named(Err)).await?;
            height = learned.proof.height.min(tip);
        }
        for (block, proof) in blocks {
            height = proof.height;
            deliver(core, &block, &proof).await?;
            yield_now().await;
        }
    }
    Ok(())
}

/// Hands a block to the application until it has taken it, or has it from elsewhere.
async fn deliver(core: &Core, block: &Block, proof: &BlockProof) -> Result<(), Stop> {
    let (height, hash) = (proof.height, proof.hash);
    if height <= core.published.delivered() {
        // The application kept it through a power cut that this node's own journal did not survive.
        return Ok(());
    }
    let (vouched, insist) = (pin!(vouched(core, height)), pin!(insist(core, block, proof)));
    let taken = vouched.named(|learned| Ok(Some(learned))).or(insist.named(|()| Ok(None)));
    let vouched = taken.or(pin!(core.attend()).named(Err)).await?;
    if let Some(further) = vouched.filter(|learned| learned.proof.height > height) {
        core.sync.told(core, further);
    }
    core.published.set_trouble(None);
    core.published.set_delivered(height);
    core.observer.tell(|| Event::Delivered { height, hash });
    Ok(())
}

/// Hands a block to the application, after ever longer pauses, until it has taken it.
async fn insist(core: &Core, block: &Block, proof: &BlockProof) {
    let height = proof.height;
    let mut pause = DELIVER_AGAIN;
    while let Err(why) = core.chain.committed(block, proof).await {
        core.observer.tell(|| Event::DeliveryFailed { height });
        core.trouble(format!("block {height} was not taken: {why}"));
        core.env.clock.sleep(pause).await;
        pause = (pause * 2).min(DELIVER_AGAIN * 64);
    }
}

impl Core {
    /// Empties the mailbox while there is no term: until the node must stop.
    pub(crate) async fn attend(&self) -> Stop {
        let mut budget = Budget::new(self.config.limits.slices.events);
        loop {
            if let Err(stop) = self.shutdown.check() {
                return stop;
            }
            let (height, checked) = (self.tip().height, self.signer.verified());
            let present = Present {
                height,
                committee: None,
                view: View::ZERO,
                settled: None,
                proposed: None,
            };
            match self.next_message(&present) {
                // A message here is about a height that is decided: too late.
                Next::Message(_) | Next::Handled => budget.spend(self.effort_since(checked)).await,
                Next::Nothing => self.wake.notified().await,
            }
        }
    }

    /// Says what keeps this node from going on.
    pub(crate) fn trouble(&self, what: String) {
        tracing::warn!(node = %self.me(), what, "trouble");
        self.published.set_trouble(Some(what));
    }
}

/// Waits until the journal has synced what was submitted, if it can, and the messages have left.
async fn settled(core: &Core) {
    core.write_decision();
    drain(&core.journal, &core.wake, &core.env.clock).await;
    core.take_synced();
}
