//! One who keeps a lease alive at the last moment, again and again: a renewal that is answered counts,
//! also if the end of the lease was on its way already.

use std::rc::Rc;
use std::time::Duration;

use crate::kv::{Command, Response, Store};
use crate::sim::client::Client;
use crate::sim::workload::kv::Shared;
use crate::sim::workload::kv::calls::{KEYS, keep_alive, propose, put};

/// How far the clock of whoever counts may be off, of 1000: so far from the end the client asks.
const OFF: std::ops::RangeInclusive<u64> = 880..=1_100;

/// Lives on the brink until the storm is over.
pub(super) async fn live(client: Client<Store>, shared: Rc<Shared>) {
    let mut seq = 0;
    while client.goes_on() {
        client.pause(Duration::from_millis(100)).await;
        seq += 1;
        let id = i64::from(client.id()) * 1_000_000 + seq;
        let mut asked = client.clock().now();
        let node = client.node().await;
        let grant = Command::LeaseGrant { id, ttl_s: 1 };
        let granted = propose(&client, &shared, &node, grant).await;
        let Some(Ok(Response::LeaseGrant { ttl_s, .. })) = granted else { continue };
        let key = KEYS[KEYS.len() - 1];
        propose(&client, &shared, &node, put(key, &format!("brink {id}"), id)).await;
        let ttl_ms = u64::try_from(ttl_s).unwrap_or(0) * 1_000;
        loop {
            let span = Duration::from_millis(ttl_ms * client.rng().within(OFF) / 1_000);
            client.clock().sleep_until(asked + span).await;
            if !client.goes_on() {
                return;
            }
            asked = client.clock().now();
            let node = client.node().await;
            if keep_alive(&client, &shared, &node, id).await == Some(false) {
                break;
            }
        }
    }
}
