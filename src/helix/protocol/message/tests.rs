//! What is signed, byte by byte, and a decoder that no bytes upset.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::helix::protocol::block::Seed;
use crate::helix::protocol::signer::Signer;
use crate::helix::protocol::testing::{Cast, HEIGHT, INSTANCE, block, keys, share_of};

/// One of each message, as large as it gets.
fn samples() -> Vec<Message> {
    let cast = Cast::new(&[1; 4]);
    let hash = block("a").hash(INSTANCE);
    let vote = |node, kind| cast.vote(node, kind, 0, hash);
    let proof = cast.prepared(0, hash, &[2, 3]);
    let changes: Vec<_> = [1, 2, 4].map(|node| cast.change(node, 1, Some(proof.clone()))).into();
    let decided = cast.decided(0, &block("a"), &[1, 2, 3]);
    let mut seeded = decided.clone();
    seeded.seed = Some(Bytes::from_static(b"seed"));
    let share = Some(share_of(NodeId(1), HEIGHT, &Seed([3; 32])));
    let (change, new_view) =
        (changes[1].1.clone(), cast.signer(2).new_view(HEIGHT, View(1), changes, block("a")));
    let (_, bare) = cast.change(2, 1, None);
    vec![
        Message::PrePrepare { vote: vote(1, Kind::PrePrepare), block: block("a") },
        Message::Prepare(vote(2, Kind::Prepare)),
        Message::Commit { vote: vote(2, Kind::Commit), share },
        Message::Commit { vote: vote(2, Kind::Commit), share: None },
        Message::ViewChange { change, block: Some(block("a")) },
        Message::ViewChange { change: bare, block: None },
        Message::NewView(Box::new(new_view)),
        Message::Tip(Height(9)),
        Message::FetchBlocks(Height(9)),
        Message::Blocks(vec![(block("a"), decided), (block("b"), seeded)]),
        Message::App(Bytes::from_static(b"message")),
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for message in samples() {
        let frame = Envelope::encode(INSTANCE, &message);
        assert_eq!(Envelope::decode(&frame, INSTANCE), Ok(message));
    }
}

#[test]
fn a_statement_is_these_bytes() {
    let statement = Statement {
        instance: ClusterId(0x0102_0304_0506_0708),
        kind: Kind::Commit,
        height: Height(5),
        view: View(0x0900),
        subject: Hash([0xab; 32]),
    };
    let mut by_hand = b"quorate helix v\0".to_vec();
    by_hand.push(1);
    by_hand.extend([8, 7, 6, 5, 4, 3, 2, 1]);
    by_hand.push(3);
    by_hand.extend([5, 0, 0, 0, 0, 0, 0, 0]);
    by_hand.extend([0, 9, 0, 0, 0, 0, 0, 0]);
    by_hand.extend([0xab; 32]);
    assert_eq!(statement.bytes().to_vec(), by_hand);
    let kinds = [Kind::PrePrepare, Kind::Prepare, Kind::Commit, Kind::NewView, Kind::ViewChange];
    assert_eq!(kinds.map(|kind| kind as u8), [1, 2, 3, 4, 5]);
}

#[test]
fn a_frame_is_these_bytes() {
    let vote = Vote {
        height: Height(5),
        view: View(6),
        hash: Hash([7; 32]),
        signature: Signature([8; 64]),
    };
    let mut by_hand = vec![1];
    by_hand.extend(INSTANCE.0.to_le_bytes());
    by_hand.push(1);
    by_hand.extend([5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
    by_hand.extend([7; 32]);
    by_hand.extend([8; 64]);
    assert_eq!(Envelope::encode(INSTANCE, &Message::Prepare(vote)), by_hand);
}

/// Every signature of one node against every statement, over two of everything that is signed.
#[test]
fn a_signature_is_right_for_one_statement_only() {
    let instances = [ClusterId(1), ClusterId(2)];
    let signer = |node, instance| Signer::new(NodeId(node), instance, Box::new(keys(node, 2)));
    let signers = instances.map(|instance| signer(1, instance));
    let mut all = Vec::new();
    for signer in &signers {
        for kind in [Kind::PrePrepare, Kind::Prepare, Kind::Commit, Kind::NewView, Kind::ViewChange]
        {
            for (height, view) in [(1, 0), (0, 1), (1, 1)] {
                for subject in [Hash::NONE, Hash([1; 32])] {
                    let (height, view) = (Height(height), View(view));
                    let signed = signer.vote(kind, height, view, subject).signature;
                    all.push((signer.statement(kind, height, view, subject), signed));
                }
            }
        }
    }
    assert_eq!(all.len(), 60);
    for (at, (statement, _)) in all.iter().enumerate() {
        for (of, (_, signature)) in all.iter().enumerate() {
            let found = signers[0].check(NodeId(1), statement, signature);
            assert_eq!(found, at == of, "{statement:?} with the signature of {:?}", all[of].0);
            if at == of {
                assert!(!signers[0].check(NodeId(2), statement, signature), "of another node");
            }
        }
    }
}

#[test]
fn a_cut_frame_is_no_message_and_neither_is_a_longer_one() {
    for message in samples() {
        let frame = Envelope::encode(INSTANCE, &message);
        for cut in 0..frame.len() {
            let found = Envelope::decode(&frame[..cut], INSTANCE);
            assert!(matches!(found, Err(Malformed::Bytes(_))), "{found:?} of {cut} bytes");
        }
        let longer = [&frame[..], &[0]].concat();
        assert!(matches!(Envelope::decode(&longer, INSTANCE), Err(Malformed::Bytes(_))));
    }
}

/// One encoding for one message: what decodes at all encodes to the same bytes again.
#[test]
fn a_changed_byte_is_refused_or_another_message_and_never_a_panic() {
    for message in samples() {
        let frame = Envelope::encode(INSTANCE, &message);
        for at in 0..frame.len() {
            for change in [1, 0x80, 0xff] {
                let mut bytes = frame.to_vec();
                bytes[at] ^= change;
                if let Ok(other) = Envelope::decode(&bytes, INSTANCE) {
                    assert_ne!(other, message);
                    assert_eq!(Envelope::encode(INSTANCE, &other), bytes);
                }
            }
        }
    }
}

/// A list that claims four thousand million elements, at each place where a list or text begins: if
/// room were made for what is claimed, this would end the process.
#[test]
fn a_huge_length_is_refused_before_room_is_made_for_it() {
    for message in samples() {
        let frame = Envelope::encode(INSTANCE, &message);
        for at in 10..frame.len().saturating_sub(3) {
            let mut bytes = frame.to_vec();
            bytes[at..at + 4].fill(0xff);
            let _ = Envelope::decode(&bytes, INSTANCE);
            bytes.truncate(at + 4);
            assert!(Envelope::decode(&bytes, INSTANCE).is_err() || at + 4 == frame.len());
        }
    }
}

#[test]
fn another_version_or_instance_is_named() {
    let mut frame = Envelope::encode(INSTANCE, &Message::Tip(Height(1))).to_vec();
    let other = ClusterId(8);
    assert_eq!(Envelope::decode(&frame, other), Err(Malformed::Instance(INSTANCE)));
    frame[0] = 2;
    assert_eq!(Envelope::decode(&frame, INSTANCE), Err(Malformed::Version(2)));
    assert!(matches!(Envelope::decode(&[], INSTANCE), Err(Malformed::Bytes(_))));
}

/// The heights that a message names, but for those inside proofs of view changes.
fn heights(message: &mut Message) -> Vec<&mut Height> {
    match message {
        Message::PrePrepare { vote, block } => vec![&mut vote.height, &mut block.height],
        Message::Prepare(vote) | Message::Commit { vote, .. } => vec![&mut vote.height],
        Message::ViewChange { change, block } => {
            let block = block.iter_mut().map(|block| &mut block.height);
            block.chain([&mut change.height]).collect()
        }
        Message::NewView(it) => vec![&mut it.height, &mut it.block.height],
        Message::Tip(height) | Message::FetchBlocks(height) => vec![height],
        Message::Blocks(blocks) => {
            let both = blocks.iter_mut();
            both.flat_map(|(block, proof)| [&mut block.height, &mut proof.height]).collect()
        }
        Message::App(_) => Vec::new(),
    }
}

/// The views that a message names, with the same exception.
fn views(message: &mut Message) -> Vec<&mut View> {
    match message {
        Message::PrePrepare { vote, .. }
        | Message::Prepare(vote)
        | Message::Commit { vote, .. } => {
            vec![&mut vote.view]
        }
        Message::ViewChange { change, .. } => vec![&mut change.view],
        Message::NewView(it) => vec![&mut it.view],
        Message::Blocks(blocks) => blocks.iter_mut().map(|(_, proof)| &mut proof.view).collect(),
        Message::Tip(_) | Message::FetchBlocks(_) | Message::App(_) => Vec::new(),
    }
}

#[test]
fn heights_and_views_that_nobody_can_have_reached_are_refused() {
    let decode =
        |message: &Message| Envelope::decode(&Envelope::encode(INSTANCE, message), INSTANCE);
    let mut named = 0;
    for message in samples() {
        let mut changed = message.clone();
        for at in 0..heights(&mut changed).len() {
            changed.clone_from(&message);
            *heights(&mut changed)[at] = HEIGHT_MAX;
            assert_eq!(decode(&changed).as_ref(), Ok(&changed));
            *heights(&mut changed)[at] = HEIGHT_MAX.next();
            assert_eq!(decode(&changed), Err(Malformed::Range), "{changed:?}");
            named += 1;
        }
        for at in 0..views(&mut changed).len() {
            changed.clone_from(&message);
            *views(&mut changed)[at] = VIEW_MAX;
            assert_eq!(decode(&changed).as_ref(), Ok(&changed));
            *views(&mut changed)[at] = VIEW_MAX.next();
            assert_eq!(decode(&changed), Err(Malformed::Range), "{changed:?}");
            named += 1;
        }
    }
    assert_eq!(named, 16 + 9);
}

proptest! {
    #[test]
    fn no_bytes_upset_the_decoder(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        tag in 0u8..12,
    ) {
        let _ = Envelope::decode(&bytes, INSTANCE);
        let mut frame = vec![VERSION];
        frame.extend(INSTANCE.0.to_le_bytes());
        frame.push(tag);
        frame.extend(bytes);
        if let Ok(message) = Envelope::decode(&frame, INSTANCE) {
            prop_assert_eq!(Envelope::encode(INSTANCE, &message), frame);
        }
    }
}
