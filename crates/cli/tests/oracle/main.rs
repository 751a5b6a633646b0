//! ToolHive's genuine vMCP and `vmcp-status run` check servers that do the same, and
//! a user looks at both. Where they differ, `docs/toolhive.md` says so, and why; what
//! it does not name is a fault, and so is what it names and no timeline shows.

mod gateway;
mod ours;
mod play;
mod seen;
mod table;
mod timeline;
mod toolhive;

use std::collections::BTreeMap;

use futures::future::{join, join_all};
use ours::Ours;
use play::play;
use table::{Pair, Place, Table};
use timeline::Scene;
use toolhive::ToolHive;

const PAGE: &str = include_str!("../../../../docs/toolhive.md");

#[test]
fn table_of_the_page_can_be_read() {
    Table::parse(PAGE).unwrap_or_else(|error| panic!("docs/toolhive.md: {error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ToolHive's vMCP, see crates/testkit/cluster/README.md"]
async fn what_a_user_sees_is_the_same_save_where_the_page_says_why_not() {
    let mut seen: BTreeMap<Place, Pair> = BTreeMap::new();
    for scene in join_all(Scene::all().iter().map(on_both)).await {
        seen.extend(scene);
    }
    let table = Table::parse(PAGE).expect("another test reads it");
    let found = table.disagreements(&seen);
    assert!(found.is_empty(), "docs/toolhive.md and what is seen do not agree:\n{}", found.join("\n"));
}

async fn on_both(scene: &Scene) -> BTreeMap<Place, Pair> {
    let folder = || tempfile::tempdir().expect("a directory");
    let (one, other) = (folder(), folder());
    let (toolhive, ours) = join(play::<ToolHive>(scene, one.path()), play::<Ours>(scene, other.path())).await;
    let mut pairs = BTreeMap::new();
    for (timeline, (toolhive, ours)) in scene.timelines.iter().zip(toolhive.into_iter().zip(ours)) {
        let (mut toolhive, mut ours) = (toolhive.sequences(), ours.sequences());
        for aspect in timeline.aspects {
            let pair = Pair {
                toolhive: toolhive.remove(aspect).unwrap_or_default(),
                ours: ours.remove(aspect).unwrap_or_default(),
            };
            pairs.insert((timeline.name.to_owned(), *aspect), pair);
        }
    }
    pairs
}
