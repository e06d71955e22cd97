//! What a kubelet asks of a runtime: just enough of `runtime.v1` to run pods.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<SandboxMetadata>,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) dns: Option<Dns>,
    #[prost(map = "string, string", tag = "6")]
    pub(crate) labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<LinuxSandbox>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct SandboxMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct Dns {
    #[prost(string, repeated, tag = "1")]
    pub(crate) servers: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct LinuxSandbox {
    #[prost(string, tag = "1")]
    pub(crate) cgroup_parent: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

/// Requests and answers whose first field is one id.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Id1>,
    #[prost(message, optional, tag = "2")]
    pub(crate) image: Option<Id1>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) command: Vec<String>,
    #[prost(map = "string, string", tag = "9")]
    pub(crate) labels: HashMap<String, String>,
}

/// `ContainerMetadata` and `ImageSpec`: the name is their first field.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub(crate) struct Id1 {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct Nothing {}

pub(crate) struct Client {
    events: Runtime,
    channel: Channel,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        let events = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = {
            let _inside = events.enter();
            endpoint.connect_lazy()
        };
        Self { events, channel }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.call::<_, Nothing>("Status", Nothing {}).is_ok()
    }

    pub(crate) fn run_sandbox(&self, config: &SandboxConfig) -> String {
        let request = RunSandbox { config: Some(config.clone()) };
        self.call::<_, Id>("RunPodSandbox", request).unwrap().id
    }

    pub(crate) fn start_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        of: &SandboxConfig,
    ) -> String {
        let request = CreateContainer {
            sandbox: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(of.clone()),
        };
        let id = self.call::<_, Id>("CreateContainer", request).unwrap().id;
        self.call::<_, Nothing>("StartContainer", Id { id: id.clone() }).unwrap();
        id
    }

    pub(crate) fn remove_sandbox(&self, id: &str) {
        self.call::<_, Nothing>("StopPodSandbox", Id { id: id.to_owned() }).unwrap();
        self.call::<_, Nothing>("RemovePodSandbox", Id { id: id.to_owned() }).unwrap();
    }

    fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let uri: Uri = format!("/runtime.v1.RuntimeService/{method}").parse().unwrap();
        let path = uri.into_parts().path_and_query.unwrap();
        let mut grpc = Grpc::new(self.channel.clone());
        let answer = async {
            grpc.ready().await.map_err(|why| format!("{method}: {why}"))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
            answer.map(tonic::Response::into_inner).map_err(|why| format!("{method}: {why}"))
        };
        let limit = Duration::from_mins(1);
        self.events
            .block_on(async { tokio::time::timeout(limit, answer).await })
            .map_err(|_| format!("{method}: no answer"))?
    }
}
