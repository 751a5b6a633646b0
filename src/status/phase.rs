use serde::{Deserialize, Deserializer, Serialize};

/// The state of the virtual MCP server as a whole (`status.phase`).
///
/// ```
/// use vmcp_status::Phase;
///
/// assert_eq!(serde_json::from_str::<Phase>(r#""Degraded""#)?, Phase::Degraded);
/// assert_eq!(Phase::Degraded.as_str(), "Degraded");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Phase {
    /// The vMCP is starting: no backend has been checked yet.
    #[default]
    Pending,
    /// Every checked backend is routable, or no backend is configured.
    Ready,
    /// Some backends are routable, some are not.
    Degraded,
    /// No backend is routable.
    Failed,
}

impl Phase {
    /// Every phase, in the order of the CRD's enumeration.
    pub const ALL: [Phase; 4] = [Phase::Pending, Phase::Ready, Phase::Degraded, Phase::Failed];

    /// Returns the phase as the CRD spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Ready => "Ready",
            Phase::Degraded => "Degraded",
            Phase::Failed => "Failed",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Phase {
    /// Reads any case. A phase that this version does not know reads as `Pending`, so
    /// that a reader waits instead of failing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Phase::ALL.into_iter().find(|phase| phase.as_str().eq_ignore_ascii_case(&text)).unwrap_or_default())
    }
}
