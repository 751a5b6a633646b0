//! Where the parts of a cluster come from.

use std::path::PathBuf;

/// What a test is told that needs more than a cluster that others run.
pub const NOT_OURS: &str = "this test needs an API server of its own, to stop it or to read its audit log: set \
    KUBEBUILDER_ASSETS instead of KUBECONFIG";

/// The server that the environment offers.
pub enum Source {
    /// Programs in this folder.
    Assets(PathBuf),
    /// A cluster that is there already.
    Cluster(PathBuf),
}

impl Source {
    pub fn from_env() -> Self {
        let path = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        match (path("KUBEBUILDER_ASSETS"), path("KUBECONFIG")) {
            (Some(assets), _) => {
                for program in ["kube-apiserver", "etcd"] {
                    let path = assets.join(program);
                    assert!(path.is_file(), "KUBEBUILDER_ASSETS has no {program}: there is no {}", path.display());
                }
                Source::Assets(assets)
            }
            (None, Some(kubeconfig)) => Source::Cluster(kubeconfig),
            (None, None) => panic!(
                "there is no API server to test on: set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd \
                 (crates/testkit/cluster/build.sh builds one and prints it), or KUBECONFIG to a cluster whose user may \
                 apply CRDs, cluster roles and service accounts"
            ),
        }
    }
}

/// A part of ToolHive.
pub fn toolhive(part: &str) -> PathBuf {
    let assets = std::env::var_os("TOOLHIVE_ASSETS").filter(|value| !value.is_empty()).unwrap_or_else(|| {
        panic!(
            "TOOLHIVE_ASSETS is not set: crates/testkit/cluster/build.sh builds ToolHive's operator and reporter and \
             prints where they are"
        )
    });
    let path = PathBuf::from(assets).join(part);
    assert!(path.exists(), "TOOLHIVE_ASSETS has no {part}: there is no {}", path.display());
    path
}
