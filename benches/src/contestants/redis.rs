//! The multiplexed connection of the crate `redis`, with buffers that never fill.

use std::net::SocketAddr;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, cmd};

use super::NOT_WHAT_WAS_SENT;
use super::callers::Echo;
use super::resp::{Command, KEY};
use crate::Result;

/// Larger than all that can be in flight.
const COMMANDS: usize = 2_048;
const BYTES: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct Handle {
    connection: MultiplexedConnection,
    command: Command,
}

/// The key is set to `content`.
pub(super) async fn connect(address: SocketAddr, command: Command, content: &[u8]) -> Result<Handle> {
    let config = AsyncConnectionConfig::new()
        .set_pipeline_buffer_size(COMMANDS)
        .set_write_backpressure_boundary(BYTES);
    let client = Client::open(format!("redis://{address}"))?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    cmd("SET").arg(KEY).arg(content).exec_async(&mut connection).await?;
    Ok(Handle { connection, command })
}

impl Echo for Handle {
    type Content = Vec<u8>;

    async fn echo(&mut self, content: Vec<u8>) -> Result<Vec<u8>> {
        let connection = &mut self.connection;
        match self.command {
            Command::Ping => Ok(cmd("PING").arg(content).query_async(connection).await?),
            Command::Get => Ok(cmd("GET").arg(KEY).query_async(connection).await?),
            Command::Set => {
                let answer: String = cmd("SET").arg(KEY).arg(&content).query_async(connection).await?;
                if answer == "OK" { Ok(content) } else { Err(NOT_WHAT_WAS_SENT.into()) }
            }
        }
    }
}
