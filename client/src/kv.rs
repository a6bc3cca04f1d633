//! Keys and values.

use ferrite_proto::etcdserverpb::RangeStreamResponse;
use ferrite_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use tonic::Streaming;

use crate::client::Client;
use crate::error::Error;
use crate::op::{Delete, Get, Op, OpResponse, Put};
use crate::pool::Pool;
use crate::retry::Repeat;
use crate::stubs::kv_client::KvClient;
use crate::txn::Txn;

impl Client {
    /// Reads the keys that `get` names.
    pub async fn get(&self, get: impl Into<Get>) -> Result<RangeResponse, Error> {
        let request: RangeRequest = get.into().into();
        let max = self.max();
        self.wire
            .unary(self.scope, Repeat::Freely, request, move |pool, r| async move { kv(pool, max).range(r).await })
            .await
    }

    /// Reads the keys that `get` names, in chunks as the server reads them.
    pub async fn range_stream(&self, get: impl Into<Get>) -> Result<RangeStream, Error> {
        let request: RangeRequest = get.into().into();
        let max = self.max();
        let chunks = self
            .wire
            .stream(self.scope, request, move |pool, r| async move { kv(pool, max).range_stream(r).await })
            .await?;
        Ok(RangeStream { chunks })
    }

    /// Writes a key.
    pub async fn put(&self, put: Put) -> Result<PutResponse, Error> {
        let request: PutRequest = put.into();
        let max = self.max();
        self.wire
            .unary(
                self.scope,
                Repeat::IfNotProcessed,
                request,
                move |pool, r| async move { kv(pool, max).put(r).await },
            )
            .await
    }

    /// Deletes the keys that `delete` names.
    pub async fn delete(&self, delete: impl Into<Delete>) -> Result<DeleteRangeResponse, Error> {
        let request: DeleteRangeRequest = delete.into().into();
        let max = self.max();
        let call = move |pool, r| async move { kv(pool, max).delete_range(r).await };
        self.wire.unary(self.scope, Repeat::IfNotProcessed, request, call).await
    }

    /// Compares, then does one or the other, in one step.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let request: TxnRequest = txn.into();
        let max = self.max();
        self.wire
            .unary(
                self.scope,
                Repeat::IfNotProcessed,
                request,
                move |pool, r| async move { kv(pool, max).txn(r).await },
            )
            .await
    }

    /// Does what `op` says.
    pub async fn do_op(&self, op: Op) -> Result<OpResponse, Error> {
        Ok(match op {
            Op::Get(get) => OpResponse::Get(self.get(get).await?),
            Op::Put(put) => OpResponse::Put(self.put(put).await?),
            Op::Delete(delete) => OpResponse::Delete(self.delete(delete).await?),
            Op::Txn(txn) => OpResponse::Txn(self.txn(txn).await?),
        })
    }

    /// Forgets all revisions before `revision`. `physical`: answer once their space is free, rather than once it is decided.
    pub async fn compact(&self, revision: i64, physical: bool) -> Result<CompactionResponse, Error> {
        let request = CompactionRequest { revision, physical };
        let max = self.max();
        self.wire
            .unary(
                self.scope,
                Repeat::IfNotProcessed,
                request,
                move |pool, r| async move { kv(pool, max).compact(r).await },
            )
            .await
    }

    /// The largest response to accept, in bytes.
    fn max(&self) -> usize {
        self.wire.config.max_receive()
    }
}

fn kv(pool: Pool, max: usize) -> KvClient<Pool> {
    KvClient::new(pool).max_decoding_message_size(max)
}

/// A long list of keys on its way, at one revision.
#[derive(Debug)]
pub struct RangeStream {
    chunks: Streaming<RangeStreamResponse>,
}

impl RangeStream {
    /// The next part; `None` when all have been read.
    pub async fn next(&mut self) -> Result<Option<RangeResponse>, Error> {
        let chunk = self.chunks.message().await?;
        Ok(chunk.map(|chunk| chunk.range_response.unwrap_or_default()))
    }
}
