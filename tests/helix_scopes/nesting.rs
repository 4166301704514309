//! Scopes nest: terms are entered and left in turn, views within them, calls within those; and
//! nothing happens in the name of a scope that is not entered.

use quorate::helix::Event;
use quorate::id::{Height, NodeId, View};

use crate::helix_rig::{Rig, Step, What, id};

/// Checks everything that has happened at a node, over one life.
pub(crate) fn check(rig: &Rig, node: NodeId) {
    let mut term: Option<Height> = None;
    let mut view: Option<(Height, View)> = None;
    let mut live: Vec<(What, Height, View)> = Vec::new();
    for step in rig.steps_of(node) {
        let within = |height, at| view == Some((height, at));
        match step {
            Step::Told(Event::TermEntered { height, .. }) => {
                assert_eq!((term, view), (None, None), "{step:?}: the term before goes on");
                assert!(live.is_empty(), "{step:?}: {live:?} outlive their term");
                term = Some(height);
            }
            Step::Told(Event::TermLeft { height, .. }) => {
                assert_eq!(
                    (term, view),
                    (Some(height), None),
                    "{step:?}: a view outlives its term"
                );
                assert!(live.is_empty(), "{step:?}: {live:?} outlive their term");
                term = None;
            }
            Step::Told(Event::ViewEntered { height, view: at, .. }) => {
                assert_eq!((term, view), (Some(height), None), "{step:?}: the view before goes on");
                assert!(live.is_empty(), "{step:?}: {live:?} outlive their view");
                view = Some((height, at));
            }
            Step::Told(Event::ViewLeft { height, view: at, .. }) => {
                assert!(within(height, at), "{step:?}: not in that view but in {view:?}");
                assert!(live.is_empty(), "{step:?}: {live:?} outlive their view");
                view = None;
            }
            Step::Told(
                Event::Creating { height, view: at }
                | Event::Validating { height, view: at, .. }
                | Event::Signed { height, view: at, .. }
                | Event::Prepared { height, view: at, .. },
            ) => assert!(within(height, at), "{step:?}: not in that view but in {view:?}"),
            Step::Asked(what @ (What::Create | What::Validate), height, at) => {
                assert!(within(height, at), "{step:?}: not in that view but in {view:?}");
                live.push((what, height, at));
            }
            Step::Polled(what @ (What::Create | What::Validate), height, at) => {
                assert!(live.contains(&(what, height, at)), "{step:?}: it is gone");
                assert!(within(height, at), "{step:?}: polled outside its view");
            }
            Step::Gone(what @ (What::Create | What::Validate), height, at, _) => {
                live.retain(|call| *call != (what, height, at));
            }
            Step::Polled(What::Commit, ..) => {
                assert_eq!((term, view), (None, None), "{step:?}: delivery is the node's");
            }
            _ => {}
        }
    }
}

/// Checks all nodes.
pub(crate) fn check_all(rig: &Rig) {
    rig.ids().into_iter().for_each(|node| check(rig, node));
}

/// Where in the list a step is, after `from`.
pub(crate) fn place(steps: &[Step], from: usize, wanted: impl Fn(&Step) -> bool) -> usize {
    let found = steps[from..].iter().position(wanted);
    from + found.unwrap_or_else(|| panic!("not in {:#?}", &steps[from..]))
}

/// Whether it is this event.
pub(crate) fn is(wanted: impl Fn(&Event) -> bool) -> impl Fn(&Step) -> bool {
    move |step| matches!(step, Step::Told(event) if wanted(event))
}

/// Why each view of a height was left, by a node.
pub(crate) fn left(rig: &Rig, node: NodeId, at: u64) -> Vec<(u64, &'static str)> {
    let left = |event| match event {
        Event::ViewLeft { height, view, why } if height.0 == at => Some((view.0, why)),
        _ => None,
    };
    rig.events_of(node).into_iter().filter_map(left).collect()
}

#[test]
fn scopes_nest_over_a_hundred_heights_with_elections() {
    for seed in 0..10 {
        let rig = Rig::new(crate::helix_rig::Setup {
            seed: Some(seed),
            stop_at: Some(100),
            ..Default::default()
        });
        let mut steps = 0u64;
        while rig.tip() < 100 {
            steps += 1;
            if steps.is_multiple_of(97) {
                let node = id(1 + steps / 97 % 4);
                let status = rig.status(node);
                rig.fire(node, status.height.0, status.view.0);
            }
            if !rig.step() {
                let at = rig.time.next_deadline().expect("somebody waits for something");
                rig.time.advance_to(at);
                let status = rig.status(id(1));
                rig.fire_all(status.height.0, status.view.0);
            }
        }
        check_all(&rig);
    }
}
