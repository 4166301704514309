//! One who keeps a lease alive at the last moment, again and again: a renewal that is answered counts,
//! also if the end of the lease was on its way already.

use std::rc::Rc;
use std::time::Duration;

use crate::kv::{Command, Response, Store};
use crate::sim::client::Client;
use crate::sim::workload::kv::Shared;
use crate::sim::workload::kv::calls::{ask_lease, keep_alive, propose, put};

/// The key on the lease; nobody else writes it.
const KEY: &str = "z";

/// When it asks at first, of 1000 parts of the time to live.
const FIRST: u64 = 950;
/// So much later it asks when it came in time, and so much sooner when it came too late.
const LATER: u64 = 7;
const SOONER: u64 = 12;

/// Lives on the brink until the storm is over.
pub(super) async fn live(client: Client<Store>, shared: Rc<Shared>) {
    let (mut seq, mut part) = (0, FIRST);
    while client.goes_on() {
        client.pause(Duration::from_millis(50)).await;
        seq += 1;
        let id = i64::from(client.id()) * 1_000_000 + seq;
        let mut asked = client.clock().now();
        let node = client.node().await;
        let grant = Command::LeaseGrant { id, ttl_s: 1 };
        let granted = propose(&client, &shared, &node, grant).await;
        let Some(Ok(Response::LeaseGrant { ttl_s, .. })) = granted else { continue };
        propose(&client, &shared, &node, put(KEY, &format!("brink {id}"), id)).await;
        let ttl_us = u64::try_from(ttl_s).unwrap_or(0) * 1_000_000;
        loop {
            client.clock().sleep_until(asked + Duration::from_micros(ttl_us / 1_000 * part)).await;
            if !client.goes_on() {
                return;
            }
            asked = client.clock().now();
            let node = client.node().await;
            match keep_alive(&client, &shared, &node, id).await {
                Some(true) => part += LATER,
                Some(false) => {
                    part -= SOONER;
                    break;
                }
                None => {}
            }
            // It was promised to live on.
            if ask_lease(&client, &shared, &node, id).await == Some(false) {
                break;
            }
        }
    }
}
