//! A way to the API server that can be cut.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use vmcp_status::connect;

pub struct Tunnel {
    kubeconfig: tempfile::NamedTempFile,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: JoinHandle<()>,
}

impl Tunnel {
    /// To the server of this kubeconfig.
    pub async fn start(kubeconfig: &Path) -> Self {
        let mut config: Value =
            serde_json::from_str(&std::fs::read_to_string(kubeconfig).expect("it is there")).expect("JSON");
        let server = &mut config["clusters"][0]["cluster"]["server"];
        let address = server.as_str().expect("a URL").trim_start_matches("https://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        *server = format!("https://127.0.0.1:{}", listener.local_addr().expect("an address").port()).into();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), config.to_string()).expect("written");
        let connections: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let open = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let address = address.clone();
                let carried = tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                open.lock().expect("nobody panics").push(carried.abort_handle());
            }
        });
        Tunnel { kubeconfig: file, connections, accepting }
    }

    pub async fn client(&self) -> kube::Client {
        connect(Some(self.kubeconfig.path()), None).await.expect("a client")
    }

    /// Cuts every connection; how many.
    pub fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.connections.lock().expect("nobody panics"));
        open.iter().filter(|connection| !connection.is_finished()).inspect(|connection| connection.abort()).count()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
