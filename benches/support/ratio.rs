//! What something costs beside its naive counterpart, from the same run.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use serde_json::Value;

/// Where criterion leaves its results, and since when those of this run are.
pub struct Ratios {
    dir: PathBuf,
    began: SystemTime,
}

/// A criterion, and the ratios of what it measures.
pub fn criterion() -> (Criterion, Ratios) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    let criterion = Criterion::default().output_directory(&dir).configure_from_args();
    (criterion, Ratios { dir, began: SystemTime::now() })
}

impl Ratios {
    /// One plain line for each parameter for which both were measured.
    pub fn print(&self, group: &str, ours: &str, naive: &str, parameters: &[impl ToString]) {
        for parameter in parameters {
            let parameter = parameter.to_string();
            let time = |function| self.median(group, function, &parameter);
            if let (Some(a), Some(b)) = (time(ours), time(naive)) {
                let ratio = a.as_secs_f64() / b.as_secs_f64();
                println!("ratio {} : {group}, {parameter}: {ours} {a:.2?}, {naive} {b:.2?}", plain(ratio));
            }
        }
    }

    /// None where this run did not measure it.
    fn median(&self, group: &str, function: &str, parameter: &str) -> Option<Duration> {
        let file = self.dir.join(group).join(function).join(parameter).join("new/estimates.json");
        if fs::metadata(&file).ok()?.modified().ok()? < self.began {
            return None;
        }
        let estimates: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        Some(Duration::from_secs_f64(estimates.pointer("/median/point_estimate")?.as_f64()? / 1e9))
    }
}

/// Two digits that matter, whatever the size.
fn plain(ratio: f64) -> String {
    if ratio < 0.1 { format!("1/{:.0}", 1.0 / ratio) } else { format!("{ratio:.2}") }
}
