use super::messages::{
    ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, ListContainersResponse,
    ListPodSandboxResponse, ListRequest, PodSandboxStatusRequest, PodSandboxStatusResponse,
    VersionRequest, VersionResponse,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;

/// A runtime on a busy node needs a moment; one that needs longer is ill.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A list of some thousand containers with their annotations.
const MAX_MESSAGE: usize = 64 << 20;

/// Why the runtime did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CriError {
    /// The path of the socket cannot be used.
    #[error("not a socket path: {0}")]
    Path(PathBuf),
    /// No event loop could be made.
    #[error("cannot make an event loop: {0}")]
    Loop(#[from] std::io::Error),
    /// No answer in time.
    #[error("{0}: no answer in {TIMEOUT:?}")]
    Timeout(&'static str),
    /// An answer that is an error, or no connection.
    #[error("{method}: {message}")]
    Call {
        /// The method called.
        method: &'static str,
        /// What the runtime or the transport said.
        message: String,
    },
}

/// A blocking client of one runtime's socket. It connects when first used, and
/// again whenever the connection was lost.
pub(crate) struct Cri {
    events: Runtime,
    channel: Channel,
}

impl Cri {
    /// A client of the socket at this path.
    pub(crate) fn new(socket: &Path) -> Result<Self, CriError> {
        let events = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bad_path = || CriError::Path(socket.to_owned());
        let uri = format!("unix://{}", socket.to_str().ok_or_else(bad_path)?);
        let endpoint = Endpoint::from_shared(uri).map_err(|_| bad_path())?;
        let channel = {
            let _inside = events.enter();
            endpoint.connect_lazy()
        };
        Ok(Self { events, channel })
    }

    /// Name and version of the runtime.
    pub(crate) fn version(&self) -> Result<String, CriError> {
        let request = VersionRequest { version: "v1".into() };
        let answer: VersionResponse = self.call("Version", request)?;
        Ok(format!("{} {}", answer.runtime_name, answer.runtime_version))
    }

    pub(super) fn sandboxes(&self) -> Result<ListPodSandboxResponse, CriError> {
        self.call("ListPodSandbox", ListRequest {})
    }

    pub(super) fn containers(&self) -> Result<ListContainersResponse, CriError> {
        self.call("ListContainers", ListRequest {})
    }

    pub(super) fn sandbox(&self, id: &str) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        self.call("PodSandboxStatus", request)
    }

    pub(super) fn container(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let request = ContainerStatusRequest { container_id: id.to_owned() };
        let answer: ContainerStatusResponse = self.call("ContainerStatus", request)?;
        Ok(answer.status.unwrap_or_default())
    }

    fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let failed = |message: String| CriError::Call { method, message };
        let uri: Uri = format!("/runtime.v1.RuntimeService/{method}")
            .parse()
            .map_err(|why| failed(format!("no method name: {why}")))?;
        let path = uri.into_parts().path_and_query.ok_or_else(|| failed("no path".into()))?;
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let answer = async {
            grpc.ready().await.map_err(|why| failed(with_causes(&why)))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(Request::new(request), path, codec).await;
            answer.map(tonic::Response::into_inner).map_err(|why| failed(with_causes(&why)))
        };
        self.events
            .block_on(async { tokio::time::timeout(TIMEOUT, answer).await })
            .map_err(|_elapsed| CriError::Timeout(method))?
    }
}

/// An error with what caused it: a transport error alone says only that.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
