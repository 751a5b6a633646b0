//! Acquire, renew, hand over, take over.

use http::Method;
use vmcp_status::{Election as _, FlushError};

use super::*;

#[tokio::test(start_paused = true)]
async fn one_of_three_replicas_writes_and_a_flush_of_the_others_is_standby() {
    let cluster = cluster();
    let names = ["one", "two", "three"];
    let mut replicas = Vec::new();
    for who in names {
        let replica = Replica::start(&cluster, who);
        assert!(replica.handle.report(said(who)));
        sleep(Duration::from_millis(100)).await;
        replicas.push(replica);
    }
    assert_eq!(replicas[0].handle.flush().await, Ok(()));
    for standby in &replicas[1..] {
        assert_eq!(standby.handle.flush().await, Err(FlushError::Standby));
        assert_eq!(standby.handle.leadership_state(), LeadershipState::Standby);
    }
    for i in 0..300 {
        for (replica, who) in replicas.iter().zip(names) {
            assert!(replica.handle.report(said(format!("{who} {i}"))));
        }
        sleep(Duration::from_secs(1)).await;
    }
    let writes = status_writes(&cluster);
    assert!(writes.len() >= 300 && writes.iter().all(|write| write.who == "one"), "{}", writes.len());
    let lease = cluster.lease(LEASE);
    assert!(cluster.holder(LEASE).starts_with("one_"), "{lease}");
    assert_eq!((&lease["spec"]["leaseTransitions"], &lease["spec"]["leaseDurationSeconds"]), (&json!(0), &json!(15)));
    for replica in replicas.iter().rev() {
        assert!(replica.reporter.shutdown().await.is_complete());
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_and_looks_cost_a_request_each_two_or_three_seconds() {
    let cluster = cluster();
    let (leader, standby) = (Replica::start(&cluster, "leader"), Replica::start(&cluster, "standby"));
    leader.leads_within(LOOK).await;
    sleep(Duration::from_secs(1)).await;
    cluster.clear_sent();
    sleep(Duration::from_secs(60)).await;
    let count = |who: &str, method: &Method| {
        cluster.sent().iter().filter(|sent| sent.who == who && sent.method == *method).count()
    };
    assert!((18..=22).contains(&count("leader", &Method::PUT)), "{}", count("leader", &Method::PUT));
    assert!((27..=33).contains(&count("standby", &Method::GET)), "{}", count("standby", &Method::GET));
    assert_eq!(cluster.sent().len(), count("leader", &Method::PUT) + count("standby", &Method::GET), "nothing else");
    drop((leader, standby));
}

#[tokio::test(start_paused = true)]
async fn leader_that_shuts_down_stores_its_last_report_first_and_the_next_writes_soon_after() {
    let cluster = cluster();
    let old = Replica::start(&cluster, "old");
    assert!(old.handle.report(said("old")));
    old.handle.flush().await.expect("stored");
    let new = Replica::start(&cluster, "new");
    assert!(new.handle.report(said("new")));
    sleep(Duration::from_secs(20)).await;
    assert_eq!((new.handle.leadership_state(), stored(&cluster).as_str()), (LeadershipState::Standby, "old"));
    let current = new.handle.watch().borrow().current.clone().expect("it has a picture");
    assert_eq!(current.message, "new", "it is kept up to date");

    cluster.clear_sent();
    assert!(old.handle.report(said("last")));
    let outcome = old.reporter.shutdown().await;
    assert!(outcome.is_complete() && outcome.leadership_state == LeadershipState::Leading, "{outcome:?}");
    let ended = Instant::now();
    assert_eq!(stored(&cluster), "last");
    let of_old: Vec<SentRequest> = cluster.sent().into_iter().filter(|sent| sent.who == "old").collect();
    let [.., write, release] = &of_old[..] else { panic!("{of_old:?}") };
    assert!(write.stored_status() && release.method == Method::PUT && release.is_of_lease(), "{of_old:?}");
    let spec = &release.body["spec"];
    assert_eq!((&spec["holderIdentity"], &spec["leaseDurationSeconds"]), (&json!(""), &json!(1)));

    while stored(&cluster) != "new" {
        assert!(ended.elapsed() <= LOOK, "no gap");
        sleep(Duration::from_millis(10)).await;
    }
    println!("handed over in {:?}", ended.elapsed());
    sleep(DURATION * 2).await;
    assert_eq!(cluster.lease(LEASE)["spec"]["leaseTransitions"], 1, "once, and not since");
    assert!(status_writes(&cluster).iter().all(|write| write.code == Some(200)), "nobody was in anybody's way");
    assert!(new.reporter.shutdown().await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn leader_that_dies_is_replaced_after_the_lease_duration_and_one_look() {
    let cluster = cluster();
    let standby = Replica::start(&cluster, "standby");
    cluster.cut_off("standby", true);
    let leader = Replica::start(&cluster, "leader");
    assert!(leader.handle.report(said("leader")));
    leader.handle.flush().await.expect("stored");
    cluster.cut_off("standby", false);
    assert!(standby.handle.report(said("standby")));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(standby.handle.leadership_state(), LeadershipState::Standby);
    // As by a power failure.
    cluster.cut_off("leader", true);
    let died = Instant::now();
    while stored(&cluster) != "standby" {
        sleep(Duration::from_millis(10)).await;
        assert!(died.elapsed() <= DURATION + LOOK + Duration::from_secs(1));
    }
    println!("taken over in {:?}", died.elapsed());
    assert!(died.elapsed() + Duration::from_millis(3300) >= DURATION, "the lease was respected: {:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn reporter_that_is_dropped_without_an_end_lets_its_lease_run_out() {
    let cluster = cluster();
    let options = ElectionOptions::default();
    let election = LeaseElection::start(cluster.client("dropped"), "default", NAME, options).expect("good names");
    let leadership = election.leadership();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(leadership.leadership_state(), LeadershipState::Leading);
    drop(election);
    cluster.clear_sent();
    sleep(DURATION).await;
    assert_eq!(
        (leadership.leadership_state(), cluster.sent().len()),
        (LeadershipState::Undecided, 0),
        "no task is left"
    );
    let next = Replica::start(&cluster, "next");
    next.leads_within(DURATION + LOOK).await;
}

#[tokio::test(start_paused = true)]
async fn leader_that_is_cut_off_stops_in_time_and_stands_by_when_it_is_back() {
    let cluster = cluster();
    let one = Replica::start(&cluster, "one");
    one.leads_within(LOOK).await;
    let two = Replica::start(&cluster, "two");
    for round in 0..40 {
        assert!(one.handle.report(said(format!("one {round}"))));
        assert!(two.handle.report(said(format!("two {round}"))));
        sleep(Duration::from_secs(1)).await;
        if round == 5 {
            cluster.cut_off("one", true);
        }
        if round == 30 {
            cluster.cut_off("one", false);
        }
    }
    assert_eq!(
        (one.handle.leadership_state(), two.handle.leadership_state()),
        (LeadershipState::Standby, LeadershipState::Leading)
    );
    let writes = status_writes(&cluster);
    let of_two = writes.iter().find(|write| write.who == "two").expect("it has taken over");
    let last_of_one = writes.iter().rfind(|write| write.who == "one").expect("it has written");
    assert!(of_two.at >= last_of_one.at + Duration::from_secs(3), "with time to spare");
    two.handle.flush().await.expect("stored");
    assert_eq!(stored(&cluster), "two 39");
}

#[tokio::test(start_paused = true)]
async fn replicas_that_disagree_and_come_and_go_are_never_two_writers_at_once() {
    let cluster = cluster();
    let names = ["a", "b", "c"];
    let mut replicas: Vec<Replica> = names.iter().map(|who| Replica::start(&cluster, who)).collect();
    for round in 0..600u32 {
        for (replica, who) in replicas.iter().zip(names) {
            assert!(replica.handle.report(said(format!("{who} {round}"))));
        }
        sleep(Duration::from_millis(500)).await;
        let who = usize::try_from(round / 60 % 3).expect("small");
        match round % 60 {
            10 => cluster.cut_off(names[who], true),
            45 => cluster.cut_off(names[who], false),
            55 => {
                let next = Replica::start(&cluster, names[who]);
                let last = std::mem::replace(&mut replicas[who], next);
                tokio::spawn(async move { last.reporter.shutdown().await });
            }
            _ => {}
        }
        assert!(replicas.iter().filter(|one| one.handle.leadership_state() == LeadershipState::Leading).count() <= 1);
    }
    let writes: Vec<SentRequest> = status_writes(&cluster).into_iter().filter(SentRequest::stored_status).collect();
    let turns = writes.windows(2).filter(|pair| pair[0].who != pair[1].who).count();
    let transitions = cluster.lease(LEASE)["spec"]["leaseTransitions"].as_u64().expect("a number");
    println!("{} writes, {turns} turns, {transitions} transitions", writes.len());
    assert!(writes.len() > 100 && turns >= 4, "{} {turns}", writes.len());
    assert!(u64::try_from(turns).expect("few") <= transitions, "nobody wrote without the lease");
}

#[tokio::test(start_paused = true)]
async fn replica_on_standby_that_is_cut_off_ends_at_once() {
    let cluster = cluster();
    let one = Replica::start(&cluster, "one");
    one.leads_within(LOOK).await;
    let two = Replica::start(&cluster, "two");
    assert!(two.handle.report(said("two")));
    sleep(Duration::from_secs(5)).await;
    cluster.cut_off("two", true);
    sleep(Duration::from_secs(3)).await;
    let start = Instant::now();
    let outcome = two.reporter.shutdown().await;
    assert!(outcome.is_complete() && outcome.leadership_state == LeadershipState::Standby, "{outcome:?}");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn two_reporters_with_one_name_have_two_identities() {
    let cluster = cluster();
    let (one, two) = (Replica::start(&cluster, "same"), Replica::start(&cluster, "same"));
    sleep(Duration::from_secs(30)).await;
    let mut standings = [one.handle.leadership_state(), two.handle.leadership_state()];
    standings.sort_by_key(|leadership_state| *leadership_state == LeadershipState::Standby);
    assert_eq!(standings, [LeadershipState::Leading, LeadershipState::Standby]);
}

#[tokio::test(start_paused = true)]
async fn flush_and_shutdown_before_the_election_is_decided_wait_for_it() {
    let cluster = cluster();
    cluster.put_lease(LEASE, json!({"holderIdentity": "dead", "leaseDurationSeconds": 3}));
    let replica = Replica::start(&cluster, "new");
    assert!(replica.handle.report(said("new")));
    assert_eq!(replica.handle.flush().await, Err(FlushError::Standby));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(stored(&cluster), "new");

    let one_shot = Replica::start(&self::cluster(), "alone");
    assert!(one_shot.handle.report(said("once")));
    assert!(one_shot.reporter.shutdown().await.stored.is_some(), "it was elected and has written");
}

#[tokio::test(start_paused = true)]
async fn without_the_verbs_every_replica_writes_until_they_are_granted() {
    for verb in ["get", "create", "update"] {
        let cluster = cluster();
        if verb == "update" {
            cluster.put_lease(LEASE, json!({}));
        }
        cluster.forbid(&[verb]);
        let (one, two) = (Replica::start(&cluster, "one"), Replica::start(&cluster, "two"));
        assert!(one.handle.report(said("early")));
        // A refusal that has not lasted yet says nothing about rights.
        sleep(Duration::from_secs(25)).await;
        assert_eq!((stored(&cluster).as_str(), one.handle.leadership_state()), ("", LeadershipState::Undecided));
        sleep(Duration::from_secs(10)).await;
        for (replica, who) in [(&one, "one"), (&two, "two")] {
            assert!(replica.handle.report(said(who)));
            replica.handle.flush().await.expect("stored");
            assert_eq!(
                (replica.handle.leadership_state(), stored(&cluster).as_str()),
                (LeadershipState::Alone, who),
                "{verb}"
            );
        }
        cluster.forbid(&[]);
        sleep(Duration::from_secs(70)).await;
        let mut standings = [one.handle.leadership_state(), two.handle.leadership_state()];
        standings.sort_by_key(|leadership_state| *leadership_state == LeadershipState::Standby);
        assert_eq!(standings, [LeadershipState::Leading, LeadershipState::Standby], "{verb}");
    }
}

/// An API server that has just started refuses everything until it has its roles.
#[tokio::test(start_paused = true)]
async fn replicas_that_start_beside_a_server_that_has_just_started_elect_one() {
    let cluster = cluster();
    cluster.forbid(&["get", "create", "update"]);
    let names = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];
    let replicas = names.map(|name| Replica::start(&cluster, name));
    for (replica, name) in replicas.iter().zip(names) {
        assert!(replica.handle.report(said(name)));
    }
    sleep(Duration::from_secs(1)).await;
    cluster.forbid(&[]);
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        let states: Vec<_> = replicas.iter().map(|replica| replica.handle.leadership_state()).collect();
        let may_write = states.iter().filter(|state| state.may_write()).count();
        assert!(may_write <= 1, "{states:?}");
    }
    let leader = replicas.iter().position(|replica| replica.handle.leadership_state() == LeadershipState::Leading);
    let leader = leader.expect("one leads after ten seconds");
    assert_eq!(stored(&cluster), names[leader]);
}

#[tokio::test(start_paused = true)]
async fn server_without_leases_has_no_election() {
    let cluster = cluster();
    cluster.serve_leases(false);
    let replica = Replica::start(&cluster, "one");
    assert!(replica.handle.report(said("one")));
    sleep(Duration::from_secs(35)).await;
    replica.handle.flush().await.expect("stored");
    assert_eq!(replica.handle.leadership_state(), LeadershipState::Alone);
    let outcome = replica.reporter.shutdown().await;
    assert!(outcome.is_complete() && outcome.leadership_state == LeadershipState::Alone);
}

#[tokio::test(start_paused = true)]
async fn name_that_makes_the_lease_too_long_is_an_error_that_says_so() {
    let cluster = cluster();
    let name = "n".repeat(250);
    let start = |options| LeaseElection::start(cluster.client("one"), "default", &name, options);
    let error = start(ElectionOptions::default()).expect_err("too long").to_string();
    assert!(error.contains("lease name") && error.contains("253"), "{error}");
    let named = ElectionOptions { lease_name: Some("mine".into()), ..ElectionOptions::default() };
    start(named).expect("short enough");
}
