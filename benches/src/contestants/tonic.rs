//! gRPC by tonic: a unary call of bytes, on one thread, with windows so large that they never close.

use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc as ServerGrpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::Load;
use super::callers::{Echo, call, runtime};
use super::report::ready;
use crate::Result;

const PATH: &str = "/bench.Echo/Echo";
/// Larger than everything that can be in flight.
const WINDOW: u32 = 64 << 20;
const STREAMS: u32 = 4_096;

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    content: Bytes,
}

#[derive(Clone)]
struct EchoService;

impl NamedService for EchoService {
    const NAME: &'static str = "bench.Echo";
}

impl Service<HttpRequest<Body>> for EchoService {
    type Response = HttpResponse<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = ServerGrpc::new(ProstCodec::<Message, Message>::default());
            Ok(grpc.unary(EchoService, request).await)
        })
    }
}

impl UnaryService<Message> for EchoService {
    type Response = Message;
    type Future = std::future::Ready<std::result::Result<Response<Message>, Status>>;

    fn call(&mut self, request: Request<Message>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

pub(super) fn server() -> Result<()> {
    runtime()?.block_on(async {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
        ready(incoming.local_addr()?);
        let server = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_concurrent_streams(STREAMS)
            .add_service(EchoService);
        Ok(server.serve_with_incoming(incoming).await?)
    })
}

#[derive(Clone)]
struct Handle {
    grpc: Grpc<Channel>,
}

pub(super) fn client(address: &str, load: &Load) -> Result<()> {
    runtime()?.block_on(async {
        let mut handles = Vec::new();
        for _ in 0..load.connections {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?
                .tcp_nodelay(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW);
            handles.push(Handle { grpc: Grpc::new(endpoint.connect().await?) });
        }
        call(handles, load).await
    })
}

impl Echo for Handle {
    type Content = Bytes;

    async fn echo(&mut self, content: Bytes) -> Result<Bytes> {
        self.grpc.ready().await?;
        let codec = ProstCodec::<Message, Message>::default();
        let request = Request::new(Message { content });
        let answer = self.grpc.unary(request, PathAndQuery::from_static(PATH), codec).await?;
        Ok(answer.into_inner().content)
    }
}
