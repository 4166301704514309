//! How a node of helix lives in the simulator: an engine with blocks of a test app or with clients'
//! commands on top, and a liar between it and the network, if one sits there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::env::net::{NetLimits, Wire, net};
use crate::env::{Env, Time};
use crate::error::Fatal;
use crate::helix::commands::node::Node;
use crate::helix::protocol::app::{App, Trigger};
use crate::helix::protocol::config::Config;
use crate::helix::protocol::node::Engine;
use crate::helix::protocol::trigger::{Either, Timer};
use crate::id::{ClusterId, Height, NodeId, View};
use crate::scope::first::{First, first};
use crate::sim::cluster::Handle;
use crate::sim::helix::adversary::hand::perform;
use crate::sim::helix::adversary::{Hand, Trick};
use crate::sim::helix::cluster::Cluster;
use crate::sim::helix::events::INSTANCE;
use crate::sim::helix::schedule::Scheduled;
use crate::sim::helix::test_app::{Behaviour, TestApp};
use crate::sim::machine::Digest;
use crate::sim::twins::{Boxed, beside, pair};

/// For how long each of two twins speaks with the same peers.
const TURN: Duration = Duration::from_secs(3);

/// An engine, the handle for its clients, if it has any, and its life.
type Begun<M> = (Engine, Option<Handle<M>>, Boxed);

impl<M: Digest> Cluster<M> {
    /// An engine for one life, with the blocks of `test_app` or with commands on top.
    pub(super) fn engine(
        &self,
        config: Config,
        env: Env,
        test_app: &TestApp,
    ) -> Result<Begun<M>, Fatal> {
        let node = config.node;
        let observer = self.observer(node);
        if !self.setup().protocol.commands {
            test_app.begin();
            let app = self.app(node, &env, test_app);
            let (engine, life) = Engine::start(config, env, app, observer)?;
            return Ok((engine, None, Box::pin(life)));
        }
        let options = self.setup().protocol.options;
        let (keys, machine) = (self.metered_keys(node), self.machine(node));
        let (served, life) = Node::start(config, options, env, keys, machine, observer)?;
        let engine = served.engine().clone();
        let handle = (!self.own(node).lies).then(|| served.into());
        Ok((engine, handle, Box::pin(life)))
    }

    /// The second engine of a liar that is two.
    pub(super) fn twin(
        &self,
        config: Config,
        env: &Env,
        wire: &Wire,
    ) -> Result<(Boxed, Wire), Fatal> {
        let (env, wire) = beside(env, wire);
        let (clock, rng, checker) = (env.clock.clone(), env.rng.fork(), self.world().checker());
        let behaviour = Behaviour::STEADY;
        let test_app = TestApp::new(config.node, clock, rng, behaviour, checker.clone());
        let (_, _, life) = self.engine(config, env, &test_app)?;
        Ok((life, wire))
    }

    /// Two engines as one: whom each speaks with changes now and then.
    pub(super) fn twins(&self, one: (Boxed, Wire), other: (Boxed, Wire)) -> (Boxed, Wire) {
        let clock = self.world().clock();
        let turn = move || clock.now().since(Time(0)).as_millis() as u64 / TURN.as_millis() as u64;
        pair(one, other, move |peer| (peer.0 + turn()).is_multiple_of(2))
    }

    fn app(&self, node: NodeId, env: &Env, test_app: &TestApp) -> App {
        let (slot, setup) = (self.own(node), self.setup());
        let timing = setup.protocol.timing;
        let timer = Timer::new(env.clock.clone(), timing.base, timing.cap);
        let (by_hand, manual) = (setup.protocol.manual, slot.trigger.clone());
        let trigger: Box<dyn Trigger> =
            if by_hand { Box::new(manual) } else { Box::new(Either { manual, timer }) };
        let (schedule, nodes) = (setup.protocol.schedule.clone(), setup.nodes);
        App {
            membership: Box::new(Scheduled { schedule, nodes }),
            blocks: Box::new(test_app.clone()),
            chain: Box::new(test_app.clone()),
            keys: self.metered_keys(node),
            trigger,
        }
    }

    /// Sets a liar between the network and its puppet.
    pub(super) fn lie(
        &self,
        node: NodeId,
        trick: Box<dyn Trick>,
        life: Boxed,
        puppet: Wire,
    ) -> (Boxed, Wire) {
        let (outer, wire) = net(node, [], NetLimits::default());
        let (world, setup) = (self.world(), self.setup());
        let hand = Hand {
            me: node,
            nodes: setup.nodes,
            schedule: setup.protocol.schedule.clone(),
            signer: self.signer(node, INSTANCE),
            abroad: self.signer(node, ClusterId(INSTANCE.0 + 1)),
            rng: world.rng().fork(),
            lore: VecDeque::new(),
            height: Height(1),
            view: View::ZERO,
            ground: None,
            later: BTreeMap::new(),
            clock: world.clock(),
            network: world.network_handle(),
            trace: world.trace().clone(),
        };
        let lying = perform(trick, hand, outer, Some(puppet));
        let both = async move {
            match first(life, lying).await {
                First::A(ended) => ended,
                First::B(()) => Ok(()),
            }
        };
        (Box::pin(both), wire)
    }
}
