//! `lease-keepalive`: each client renews a lease of its own, one stream a renewal, as `KeepAliveOnce` does.

use super::{Failure, connect, print};
use crate::args::Args;
use crate::grpc::{CallError, Connection, rpc};
use crate::load::{Plan, drive};
use ferrite_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest};

const TTL_SECONDS: i64 = 100;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let connections = connect(args).await?;
    let mut leases = Vec::new();
    for i in 0..args.uint("clients").max(1) as usize {
        let grant = LeaseGrantRequest { ttl: TTL_SECONDS, id: 0 };
        leases.push(connections[i % connections.len()].call(rpc::LEASE_GRANT, &grant).await?.id);
    }
    let plan = Plan { total: args.uint("total"), clients: args.uint("clients").max(1), rate: 0 };
    let report = drive(&connections, plan, async move |connection: Connection, number: u64| {
        let mut stream = connection.stream(rpc::LEASE_KEEP_ALIVE).await?;
        stream.sender.send_last(&LeaseKeepAliveRequest { id: leases[number as usize % leases.len()] })?;
        match stream.next().await? {
            Some(answer) if answer.ttl > 0 => Ok(()),
            _ => Err(CallError::Broken("the lease was not renewed".to_owned())),
        }
    })
    .await;
    print(args, &report)
}
