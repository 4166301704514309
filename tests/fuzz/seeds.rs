//! Writes the corpus: for each target a few inputs as the encoders of the product make them, so that
//! fuzzing begins where formats are right. From the root of the project:
//! `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`

use std::fs;
use std::path::Path;

use bytes::Bytes;
use quorate::helix::commands::batch::{self, Command as HelixCommand};
use quorate::helix::protocol::block::{Block, Hash};
use quorate::helix::protocol::evidence::Evidence;
use quorate::helix::protocol::message::{
    Envelope, Kind as Statement, Message, NewView, Share, Signature, ViewChange, Vote,
};
use quorate::helix::protocol::proof::{BlockProof, PreparedProof};
use quorate::id::ClusterId;
use quorate::journal::Digest;
use quorate::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, LeaseCheckpoint,
    LeaseStamp, Limits, PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget, Store,
    TxnRequest, WatchRequest,
};
use quorate::raft::entries::{Builder, Kind, Origin};
use quorate::raft::message as raft;
use quorate::tcp::Identity;
use quorate::tcp::frame::Outlet;
use quorate::tcp::link::Hello;
use quorate::{Committed, Height, Index, NodeId, StateMachine, Term, View};
use quorate_fuzz::disk::{SECTOR, files, open, write_all, write_snapshot};
use quorate_fuzz::{CALLS, joined, json};

const INSTANCE: ClusterId = ClusterId(1);

/// Writes the inputs of one target, in place of those that were there.
fn write(target: &str, inputs: Vec<Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder of the project");
    assert!(inputs.len() <= 30, "{target}: a corpus in the tree is small");
    for (number, input) in (1..).zip(inputs) {
        fs::write(folder.join(format!("{number:02}")), input).expect("a file of the project");
    }
}

fn with_first(first: impl AsRef<[u8]>, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [first.as_ref(), rest.as_ref()].concat()
}

fn main() {
    frames();
    raft_nodes();
    helix_nodes();
    journals();
    snapshots();
    stores();
    write("settings", settings());
    write("scripts", scripts());
}

fn frames() {
    let payloads = [&b""[..], b"frame", &[7; 300]];
    let mut outlet = Outlet::new(1 << 20);
    assert!(payloads.iter().all(|payload| outlet.push(payload)));
    let mut large = Outlet::new(1 << 20);
    assert!(large.push(&[1; 3_000]));
    write(
        "frames",
        vec![
            with_first([0, 1], joined(payloads)),
            with_first([0, 200], joined(payloads)),
            with_first([1, 0], outlet.bytes()),
            with_first([1, 3], large.bytes()),
        ],
    );
    let identity = Identity { cluster: ClusterId(7), node: NodeId(1) };
    let hello = Hello::new(identity, NodeId(2), 0).encode();
    let refusal = Hello::new(identity, NodeId(2), 3).encode();
    write("hello", vec![with_first(hello, [1]), with_first(refusal, [1])]);
}

/// Three entries of raft.
fn entries() -> quorate::raft::entries::Entries {
    let mut builder = Builder::new(Index(8), Term(3), 0);
    builder.push(Kind::Noop, Origin { node: NodeId(2), request: 0 }, b"");
    builder.push(Kind::Command, Origin { node: NodeId(2), request: 4 }, b"payload");
    builder.push(Kind::Command, Origin { node: NodeId(1), request: 5 }, &put(b"a", b"1").encode());
    builder.finish()
}

fn raft_nodes() {
    let last = raft::Position { term: Term(2), index: Index(7) };
    let conflict = raft::AppendOutcome::Conflict { refused: Index(7), hint: Index(3) };
    let commands = vec![(1, Bytes::from_static(b"a")), (2, Bytes::new())];
    let piece = Bytes::from_static(b"piece");
    let digest = Digest([7; 32]);
    let messages = [
        raft::Message::PreVote(raft::Ballot { last, transfer: false }),
        raft::Message::PreVoteReply { granted: true },
        raft::Message::RequestVote(raft::Ballot { last, transfer: true }),
        raft::Message::RequestVoteReply { granted: false },
        raft::Message::AppendEntries { prev: last, commit: Index(5), round: 9, entries: entries() },
        raft::Message::AppendReply { round: 9, outcome: raft::AppendOutcome::Matched(Index(8)) },
        raft::Message::AppendReply { round: 9, outcome: conflict },
        raft::Message::InstallSnapshot { covers: last, len: 9, digest, offset: 2, round: 1, piece },
        raft::Message::InstallReply { covers: last, have: 15, round: 1 },
        raft::Message::TimeoutNow,
        raft::Message::Forward { commands },
        raft::Message::ForwardDeclined { requests: vec![1, 2], why: raft::Declined::Overloaded },
        raft::Message::ReadIndex { id: 4 },
        raft::Message::ReadIndexReply { id: 4, index: Some(Index(8)) },
    ];
    let frame = |message| raft::Envelope { term: Term(3), message }.encode().to_vec();
    write("raft_messages", messages.map(frame).to_vec());

    // The records as `raft::record` and `raft::log` lay them out.
    let checkpoint = |snapshot: raft::Position, term: u64, members: Vec<u64>| {
        let fields = (1u64, 1u64, members, (term, Some(2u64)), snapshot);
        with_first([3], borsh::to_vec(&fields).expect("memory"))
    };
    let members = vec![1, 2, 3];
    let first = checkpoint(raft::Position::default(), 0, members.clone());
    let hard_state = with_first([2], borsh::to_vec(&(4u64, Some(3u64))).expect("memory"));
    let log = |from: u64| with_first([&[1][..], &from.to_le_bytes()].concat(), entries().bytes());
    let after = checkpoint(last, 3, members.clone());
    let meta = borsh::to_vec(&(1u64, members, last)).expect("memory");
    let none = || [vec![], vec![]];
    let with = |records: Vec<Vec<u8>>| joined(none().into_iter().chain(records));
    let state = store_with_history().snapshot().flatten().collect::<Vec<_>>();
    let snapshot =
        |records: Vec<Vec<u8>>| joined([meta.clone(), state.clone()].into_iter().chain(records));
    write(
        "raft_recovery",
        vec![
            with(vec![first.clone()]),
            with(vec![first.clone(), hard_state.clone(), log(1)]),
            with(vec![first.clone(), log(1), log(2), log(5)]),
            snapshot(vec![after.clone(), log(8)]),
            snapshot(vec![first, log(1), hard_state, log(4), after, log(8)]),
        ],
    );
}

fn signature(node: u8) -> Signature {
    Signature([node; 64])
}

fn block(height: u64) -> Block {
    let commands = [helix_command(1, Some(b"payload")), helix_command(2, None)];
    Block {
        height: Height(height),
        previous: Hash([1; 32]),
        proposer: NodeId(2),
        time: 3,
        payload: batch::encode(7, commands.iter()),
    }
}

fn helix_command(number: u64, payload: Option<&'static [u8]>) -> HelixCommand {
    let payload = payload.map(Bytes::from_static);
    HelixCommand { origin: NodeId(1), number, until: Height(9), payload }
}

/// What a quorum of members 1 to 4, each of weight 1, has signed; members lead by their number.
fn prepared(view: u64, block: &Block) -> PreparedProof {
    let leader = 1 + (view % 4) as u8;
    let others = (1..=4).filter(|&node| node != leader).take(2);
    PreparedProof {
        view: View(view),
        hash: block.hash(INSTANCE),
        proposal: signature(leader),
        prepares: others.map(|node| (NodeId(node.into()), signature(node))).collect(),
    }
}

fn decided(block: &Block) -> BlockProof {
    BlockProof {
        height: block.height,
        view: View(1),
        hash: block.hash(INSTANCE),
        commits: (1..=3).map(|node| (NodeId(node.into()), signature(node))).collect(),
        seed: None,
    }
}

fn change(node: u8, view: u64, prepared: Option<PreparedProof>) -> ViewChange {
    ViewChange { height: Height(5), view: View(view), prepared, signature: signature(node) }
}

fn new_view(view: u64, proofs: [Option<PreparedProof>; 3]) -> Message {
    let leader = signature(1 + (view % 4) as u8);
    let changes = (1..).zip(proofs);
    let changes = changes.map(|(node, proof)| (NodeId(node.into()), change(node, view, proof)));
    Message::NewView(Box::new(NewView {
        height: Height(5),
        view: View(view),
        changes: changes.collect(),
        proposal: leader,
        block: block(5),
        signature: leader,
    }))
}

fn helix_nodes() {
    let (height, view, block) = (Height(5), View(0), block(5));
    let vote = Vote { height, view, hash: block.hash(INSTANCE), signature: signature(1) };
    let proof = || prepared(0, &block);
    let (one, two) = (new_view(1, [None, None, None]), new_view(2, [None, Some(proof()), None]));
    let later = new_view(6, [Some(prepared(3, &block)), Some(proof()), None]);
    let leaving =
        Message::ViewChange { change: change(4, 2, Some(proof())), block: Some(block.clone()) };
    let blocks = Message::Blocks(vec![(block.clone(), decided(&block))]);
    let share = Some(Share(Bytes::from_static(b"share")));
    let proven = [one.clone(), two, later, leaving.clone(), blocks.clone()];
    let all = [
        Message::PrePrepare { vote, block: block.clone() },
        Message::Prepare(vote),
        Message::Commit { vote, share: None },
        Message::Commit { vote, share },
        leaving,
        one,
        Message::Tip(height),
        Message::FetchBlocks(height),
        blocks,
        Message::App(Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x07")),
    ];
    let frame = |message: &Message| Envelope::encode(INSTANCE, message).to_vec();
    write("helix_messages", all.iter().map(frame).collect());
    let from = |message: &Message| match message {
        Message::NewView(new_view) => 1 + (new_view.view.0 % 4) as u8,
        _ => 4,
    };
    let spoken = |message: &Message| with_first([1, 1, 1, 1, from(message)], frame(message));
    write("helix_proofs", proven.iter().map(spoken).collect());

    let batches = [batch::encode(0, [].iter()), block.payload.clone()];
    write("helix_blocks", batches.iter().map(|payload| with_first([9], payload)).collect());

    // The records as `helix::protocol::record` lays them out.
    let record = |variant: u8, fields: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = vec![16, variant];
        fields(&mut bytes);
        bytes
    };
    let put = |bytes: &mut Vec<u8>, fields: Vec<u8>| bytes.extend(fields);
    let own = borsh::to_vec::<(u64, u64)>;
    let identity = record(0, &|b| put(b, own(&(1, 1)).expect("memory")));
    let first = self::block(1);
    let hash = first.hash(INSTANCE);
    let vote = borsh::to_vec(&(1u64, 0u64, hash, signature(1), Some(first.clone())));
    let vote = record(2, &|b| put(b, vote.as_ref().expect("memory").clone()));
    let lock = borsh::to_vec(&(1u64, prepared(0, &first)));
    let lock = record(3, &|b| put(b, lock.as_ref().expect("memory").clone()));
    let done = borsh::to_vec(&(decided(&first), None::<Block>));
    let done = record(4, &|b| put(b, done.as_ref().expect("memory").clone()));
    let left = record(1, &|b| put(b, own(&(2, 1)).expect("memory")));
    let said = |node: u8| (Hash([node; 32]), signature(node));
    let evidence = Evidence {
        node: NodeId(2),
        kind: Statement::Commit,
        height: Height(1),
        view: View(0),
        first: said(1),
        second: said(2),
    };
    let evidence = borsh::to_vec(&evidence).expect("memory");
    let evidence = record(5, &|b| put(b, evidence.clone()));
    let none = || [vec![], vec![]];
    let with = |records: Vec<Vec<u8>>| joined(none().into_iter().chain(records));
    write(
        "helix_recovery",
        vec![
            with(vec![identity.clone()]),
            with(vec![identity.clone(), vote.clone(), lock.clone()]),
            with(vec![identity, vote, lock, done, left, evidence]),
        ],
    );
}

/// The files of journals with few and with many records, without the zeros at their ends.
fn journals() {
    let mut inputs = Vec::new();
    for (count, lives) in [(0u64, 1), (1, 1), (3, 2), (12, 1), (30, 2)] {
        let disk = quorate::env::Disk::memory();
        for life in 0..lives {
            let (journal, _) = open(&disk).expect("a journal of ours");
            for at in 0..count {
                journal.submit((at + life) as u8, &[&vec![at as u8; at as usize * 23]]);
                write_all(&journal);
            }
        }
        let segments = files(&disk).into_iter().filter(|(name, _)| name.starts_with("journal-"));
        let shorter = segments.map(|(_, segment)| {
            let used = segment.chunks(SECTOR).rposition(|sector| sector.iter().any(|&b| b != 0));
            segment[..used.map_or(0, |last| (last + 1) * SECTOR)].to_vec()
        });
        let segments = joined(shorter.take(3));
        inputs.extend([with_first([3], &segments), with_first([2], &segments)]);
    }
    write("journal", inputs);
}

fn snapshots() {
    let mut inputs = Vec::new();
    for (meta, contents) in [(&b""[..], vec![]), (b"meta", vec![5; 100]), (b"m", vec![6; 3_000])] {
        let disk = quorate::env::Disk::memory();
        let (journal, _) = open(&disk).expect("a journal of ours");
        write_snapshot(&journal, meta, &contents);
        let snapshot = files(&disk).into_iter().find(|(name, _)| name.ends_with(".snap"));
        let (_, file) = snapshot.expect("it was written");
        // The same in blocks of 100 bytes: the target makes the checksums right.
        let mut blocks = file.clone();
        blocks[24..28].copy_from_slice(&100u32.to_le_bytes());
        blocks.resize(file.len() + contents.len().div_ceil(100).saturating_sub(1) * 4, 0);
        inputs.extend([with_first([0], &file), with_first([1], &blocks)]);
    }
    write("snapshot_file", inputs);
}

fn put(key: &[u8], value: &[u8]) -> Command {
    let (key, value) = (key.to_vec(), value.to_vec());
    Command::Put(PutRequest { key, value, prev_kv: true, ..PutRequest::default() })
}

fn range() -> RangeRequest {
    RangeRequest {
        key: b"a".to_vec(),
        range_end: b"c".to_vec(),
        limit: 5,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        ..RangeRequest::default()
    }
}

fn txn() -> TxnRequest {
    let compare = |target| Compare {
        key: b"a".to_vec(),
        range_end: vec![],
        result: CompareResult::Greater,
        target,
    };
    let put = PutRequest { key: b"b".to_vec(), lease: 7, ..PutRequest::default() };
    let inner = TxnRequest { success: vec![RequestOp::Put(put)], ..TxnRequest::default() };
    TxnRequest {
        compare: vec![
            compare(CompareTarget::Version(0)),
            compare(CompareTarget::Create(1)),
            compare(CompareTarget::Mod(1)),
            compare(CompareTarget::Value(b"0".to_vec())),
            compare(CompareTarget::Lease(-1)),
        ],
        success: vec![RequestOp::Range(range()), RequestOp::Txn(inner)],
        failure: vec![RequestOp::DeleteRange(delete())],
    }
}

fn delete() -> DeleteRangeRequest {
    DeleteRangeRequest { key: b"a".to_vec(), range_end: vec![0], prev_kv: true }
}

/// One command of each kind, in an order in which most have an effect.
fn commands() -> Vec<Command> {
    let leased = PutRequest { key: b"k".to_vec(), lease: 7, ..PutRequest::default() };
    let stamp = LeaseStamp { id: 7, generation: 1 };
    let checkpoint = LeaseCheckpoint { lease: stamp, remaining_s: 3 };
    vec![
        put(b"a", b"1"),
        Command::LeaseGrant { id: 7, ttl_s: 60 },
        Command::Put(leased),
        put(b"a", b"2"),
        Command::LeaseCheckpoint { epoch: 1, checkpoints: vec![checkpoint] },
        Command::Txn(txn()),
        Command::LeaseRenew { id: 7 },
        Command::DeleteRange(delete()),
        Command::Compact { revision: 3 },
        Command::LeaseGrant { id: 8, ttl_s: 9 },
        Command::LeaseExpire { epoch: 1, leases: vec![LeaseStamp { id: 8, generation: 4 }] },
        Command::LeaseRevoke { id: 7 },
        Command::Configure(Limits { history_revisions: 2, ..Limits::default() }),
        put(b"z", b"3"),
    ]
}

fn store_with_history() -> Store {
    let mut store = Store::new();
    for (index, command) in (1..).zip(commands().into_iter().take(8)) {
        let payload = command.encode();
        let outcome = store.apply(Committed { index, epoch: 1, payload: &payload });
        assert!(outcome.is_ok(), "{command:?}: {outcome:?}");
    }
    store
}

fn stores() {
    let all: Vec<_> = commands().iter().map(Command::encode).collect();
    let mut inputs: Vec<_> = all.iter().map(|payload| joined([payload])).collect();
    inputs.push(joined(&all));
    let restored_between = all.iter().flat_map(|payload| [payload.clone(), vec![]]);
    inputs.push(joined(restored_between));
    write("kv_commands", inputs);

    let full = store_with_history().snapshot().flatten().collect();
    write("kv_snapshot", vec![Store::new().snapshot().flatten().collect(), full]);

    let client = commands().into_iter().filter(|command| {
        let by_hand = [Command::Compact { revision: 3 }, Command::LeaseGrant { id: 8, ttl_s: 9 }];
        matches!(command, Command::Put(_) | Command::DeleteRange(_) | Command::Txn(_))
            || by_hand.contains(command)
    });
    let mut calls: Vec<_> = client.map(|command| json::command(&command)).collect();
    calls.push(("range", json::range(&range())));
    let watch = WatchRequest { key: b"a".to_vec(), no_put: true, ..WatchRequest::default() };
    calls.push(("watch", json::watch(&watch)));
    calls.push(("watch", serde_json::json!({ "cancel_request": { "watch_id": 1 } })));
    let body = |(call, text): (&str, serde_json::Value)| {
        let number = CALLS.iter().position(|known| *known == call).expect("a call");
        with_first([number as u8], text.to_string())
    };
    write("api_requests", calls.into_iter().map(body).collect());
}

fn settings() -> Vec<Vec<u8>> {
    let keys: Vec<_> = (1..=4u8)
        .map(|id| {
            let key = quorate::helix::protocol::keys::Ed25519::public_of([id; 32]);
            let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\"{id}={digits}\"")
        })
        .collect();
    let members = "cluster = [\"1=a:1\", \"2=b:2\", \"3=[::1]:3\", \"4=10.0.0.4:4\"]";
    let texts = [
        "node_id = 1\nname = \"a\"\n".to_owned(),
        format!("node_id = 2\n{members}\ntiming = \"wan\"\ncluster_name = \"c\"\n"),
        format!(
            "engine = \"helix\"\n{members}\nsecret_key = \"k\"\nmember_keys = [{}]\n\
             view_timeout_ms = 100\nview_timeout_max_ms = 0\n",
            keys.join(", ")
        ),
        "heartbeat_ms = 10\nelection_min_ms = 100\nelection_max_ms = 200\nquota_bytes = 1_000\n".into(),
        "cluster_id = \"abc\"\nadvertise_client = [\"http://a:1\", \"2=http://b\"]\nsync = \"thread\"\n"
            .into(),
        "--node-id\n3\n--cluster\n1=a:1,3=b:2\n--listen-peer\n0.0.0.0:0\n---\nlog = \"info\"\n".into(),
        "--listen-client\n[::]:2379\n--history-revisions\n10\n---\nlisten_peer = \"1.2.3.4:5\"\n".into(),
    ];
    texts.map(String::into_bytes).to_vec()
}

fn scripts() -> Vec<Vec<u8>> {
    [
        "cluster 3\nelect n1\npropose n2 2\nuntil *.commit = i3 within 5s\n",
        "cluster 3 seed 2 tiny\nelect n2\ndisk n1 full\npropose n1\nrun 50ms\n",
        "show frames\ncluster 2\nhold next AppendEntries n1 > *\nuntil sends PreVote n1 > n2\npass\n",
        "cluster 3 single\nuntil settled\nisolate n3\ncrash n1\nstart n1\nheal\nread n2\n",
        "cluster 1\nuntil n1.role = leader and n1.term >= t1\nexpect n1.life = up\nwipe n1\n",
        "helix\ncluster 4\nuntil *.tip = h1 within 9s\npause n2\nresume n2\n",
        "helix\ncluster 4 seed 3\ntwice COMMIT n1 > n2\npartition n1,n2 | n3,n4\nrun 9s\nstop n3\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
