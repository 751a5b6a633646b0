//! What something costs beside its naive counterpart, from the same run.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use criterion::Criterion;
use serde_json::Value;

#[path = "show.rs"]
mod show;

use show::time;

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
            let median = |function| self.median(group, function, &parameter);
            if let (Some(a), Some(b)) = (median(ours), median(naive)) {
                println!("ratio {}: {group}, {parameter}: {ours} {}, {naive} {}", show::ratio(a / b), time(a), time(b));
            }
        }
    }

    /// In nanoseconds; none where this run did not measure it.
    fn median(&self, group: &str, function: &str, parameter: &str) -> Option<f64> {
        let file = self.dir.join(group).join(function).join(parameter).join("new/estimates.json");
        if fs::metadata(&file).ok()?.modified().ok()? < self.began {
            return None;
        }
        let estimates: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        estimates.pointer("/median/point_estimate")?.as_f64()
    }
}
