//! A real cluster, with the clients that the product makes.

pub use crate::cluster::RealCluster;

/// Starts one that serves the definition that the program prints.
pub async fn start() -> RealCluster {
    RealCluster::start(vmcp_status::crd()).await
}

/// The product's own client, with the credentials of this user.
pub async fn client(cluster: &RealCluster, user: &str) -> kube::Client {
    vmcp_status::connect(Some(&cluster.kubeconfig(user)), None).await.expect("a client")
}
