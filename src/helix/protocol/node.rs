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

use crate::env::Env;
use crate::error::Fatal;
use crate::helix::protocol::app::App;
use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::config::Config;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::event::{Event, Observer};
use crate::helix::protocol::evidence::Evidence;
use crate::helix::protocol::mailbox::Next;
use crate::helix::protocol::message::Message;
use crate::helix::protocol::proof::BlockProof;
use crate::helix::protocol::recover::{Tip, recover};
use crate::helix::protocol::signer::Strictness;
use crate::helix::protocol::sync::{self, Learned};
use crate::helix::protocol::term::{self, Ended, MESSAGES_PER_TURN, vouched};
use crate::host::Life;
use crate::host::shutdown::{Stop, drain};
use crate::id::{ClusterId, Height, NodeId, View};
use crate::scope::budget::Budget;
use crate::scope::first::Named;

/// The first pause before a delivery that failed is tried again; it doubles up to 64 times this.
const DELIVER_AGAIN: Duration = Duration::from_millis(100);

/// A handle on a running engine; clones are handles on the same one.
#[derive(Clone)]
pub struct Engine(Rc<Core>);

/// One moment of a node.
#[derive(Debug, Clone)]
pub struct Status {
    /// Who it is.
    pub node: NodeId,
    /// Its instance.
    pub instance: ClusterId,
    /// The height that it decides.
    pub height: Height,
    /// The view that it is in.
    pub view: View,
    /// Who leads that view.
    pub leader: Option<NodeId>,
    /// Whether it is in the committee of that height.
    pub member: bool,
    /// The last decided height.
    pub tip: Height,
    /// Who made that block.
    pub proposer: Option<NodeId>,
    /// The last height that the application has taken delivery of.
    pub delivered: Height,
    /// The highest height for which it has signed a COMMIT, or whose decision it knows.
    pub promised: Height,
    /// What keeps it from going on, if anything does.
    pub trouble: Option<String>,
    /// Evidence against members, as far as it is kept.
    pub evidence: Vec<Evidence>,
    /// Signatures made.
    pub signed: u64,
    /// Signatures checked.
    pub verified: u64,
    /// messages about later heights that are kept.
    pub kept: usize,
    /// Bytes that the journal takes on disk.
    pub journal_bytes: u64,
    /// The median of the last syncs, in microseconds.
    pub sync_us: u64,
    /// Frames that made no sense or were not genuine.
    pub malformed: u64,
    /// Frames dropped because a queue was full.
    pub dropped: u64,
    /// Whether the disk has no room.
    pub disk_full: bool,
    /// The peers: what each says to have decided, and milliseconds since it was heard.
    pub peers: Vec<(NodeId, Height, u64)>,
}

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
        let (present, now, tip) = (&core.present, core.now(), core.tip());
        let millis = |at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let peers = core.sync.peers();
        Status {
            node: core.me(),
            instance: core.config.instance,
            height: present.height.get(),
            view: present.view.get(),
            leader: present.leader.get(),
            member: present.member.get(),
            tip: tip.height,
            proposer: tip.block().map(|block| block.proposer),
            delivered: present.delivered.get(),
            promised: self.promised(),
            trouble: present.trouble.borrow().clone(),
            evidence: core.evidence_pool().iter().cloned().collect(),
            signed: core.signer.signed(),
            verified: core.signer.verified(),
            kept: core.kept(),
            journal_bytes: core.journal.bytes_on_disk(),
            sync_us: u64::try_from(core.journal.sync_median().as_micros()).unwrap_or(u64::MAX),
            malformed: core.mailbox.malformed.get(),
            dropped: core.env.net.dropped(),
            disk_full: core.journal.is_full(),
            peers: peers.into_iter().map(|(node, tip, at)| (node, tip, millis(at))).collect(),
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
        self.0.shutdown.set(true);
        self.0.wake.notify();
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

/// The heights of a life. The simulator may drop a term where it waits: they begin anew then.
#[cfg(feature = "sim")]
async fn heights(core: &Core) -> Result<Infallible, Stop> {
    let injector = core.cancel_injector.borrow().clone();
    let before = injector.cancels();
    let begin = || {
        if injector.cancels() > before {
            let (height, why) = (core.tip().height.next(), super::event::CANCELLED);
            core.observer.tell(|| Event::TermLeft { height, why });
        }
        height_after_height(core)
    };
    injector.over(begin).await
}

/// The heights of a life.
#[cfg(not(feature = "sim"))]
async fn heights(core: &Core) -> Result<Infallible, Stop> {
    height_after_height(core).await
}

/// Height after height, until the node must stop.
async fn height_after_height(core: &Core) -> Result<Infallible, Stop> {
    deliver_again(core).await?;
    loop {
        if core.config.stop_at.is_some_and(|last| core.tip().height >= last) {
            return Err(core.attend().await);
        }
        let ended = term::run(core).await?;
        follow(core, ended).await?;
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
        core.present.delivered.set(height);
        return Ok(());
    }
    deliver(core, &block, &proof).await
}

/// Delivers what an earlier life decided and the application does not have.
async fn deliver_again(core: &Core) -> Result<(), Stop> {
    let (mut height, tip) = (core.chain.height(), core.tip().height);
    height = height.max(core.present.delivered.get());
    core.present.delivered.set(height);
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
        }
    }
    Ok(())
}

/// Hands a block to the application until it has taken it, or has it from elsewhere.
async fn deliver(core: &Core, block: &Block, proof: &BlockProof) -> Result<(), Stop> {
    let (height, hash) = (proof.height, proof.hash);
    if height <= core.present.delivered.get() {
        // The application kept it through a power cut that this node's own journal did not survive.
        return Ok(());
    }
    let (vouched, insist) = (pin!(vouched(core, height)), pin!(insist(core, block, proof)));
    let taken = vouched.named(|learned| Ok(Some(learned))).or(insist.named(|()| Ok(None)));
    let vouched = taken.or(pin!(core.attend()).named(Err)).await?;
    if let Some(further) = vouched.filter(|learned| learned.proof.height > height) {
        core.sync.told(core, further);
    }
    core.present.trouble.take();
    core.present.delivered.set(height);
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
        let mut budget = Budget::new(MESSAGES_PER_TURN);
        loop {
            if self.shutdown.get() {
                return Stop::Shutdown;
            }
            let (decided, checked) = (self.tip().height, self.signer.verified());
            match self.next_message(decided) {
                // A message here is about a height that is decided: too late.
                Next::Message(_) | Next::Handled => budget.spend(self.effort_since(checked)).await,
                Next::Nothing => self.wake.notified().await,
            }
        }
    }

    /// Says what keeps this node from going on.
    pub(crate) fn trouble(&self, what: String) {
        tracing::warn!(node = %self.me(), what, "trouble");
        self.present.trouble.replace(Some(what));
    }
}

/// Waits until the journal has synced what was submitted, if it can, and the messages have left.
async fn settled(core: &Core) {
    core.write_decision();
    drain(&core.journal, &core.wake, &core.env.clock).await;
    core.take_synced();
}
