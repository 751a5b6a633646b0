//! The program `vmcp-status get`, run as others run it.

mod cluster;
mod leases;
mod runtime;
mod staleness;
mod state_files;

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use state_files::{Said, States, next, said, state};

/// An object as it is stored.
fn without_ours(mut object: Value) -> Value {
    let ours = object.as_object_mut().and_then(|members| members.remove("vmcpStatus"));
    assert!(ours.is_some_and(|ours| ours["stale"].is_boolean()), "each object says whether it is stale");
    object
}

fn a_minute_ago() -> String {
    (Utc::now() - TimeDelta::minutes(1)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[test]
fn without_a_name_all_are_listed() {
    let Said { code, out, err } = States::two().get(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "PHASE", "BACKENDS", "AGE", "MESSAGE"]);
    assert!(lines[1].starts_with("notes   Degraded   1/2"), "{out}");
    assert!(lines[2].ends_with("1 of 2 backends routable, 1 unavailable"), "{out}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn one_is_shown_with_its_parts() {
    let Said { code, out, err } = States::two().get(&["tools"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let parts: Vec<_> = out.split("\n\n").collect();
    let reporter = parts[0].lines().last().expect("it is not empty");
    assert!(
        parts[0].starts_with("Name:       tools\nPhase:      Degraded\nBackends:   1 routable, 2 listed\n"),
        "{out}"
    );
    assert!(reporter.starts_with("Reporter:   alive "), "{out}");
    assert!(reporter.ends_with(&format!("s ago (pid {})", std::process::id())), "{out}");
    assert!(parts[1].starts_with("BACKEND   STATUS        AUTH     LAST CHECK   MESSAGE\nb1        ready  "), "{out}");
    assert!(parts[2].starts_with("CONDITION   STATUS   REASON           SINCE    MESSAGE\nReady   "), "{out}");
    assert!(!out.contains("T00:"), "a table has ages, no times");
}

#[test]
fn wide_tells_more() {
    let states = States::two();
    let out = states.get(&["tools", "-o", "wide"]).out;
    for word in ["URL", "REVISION", "FAILURES", "CIRCUIT", "AUTH REF", "http://b1:8080/mcp"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    let out = states.get(&["-o", "wide"]).out;
    assert!(out.contains("REPORTER") && out.contains("UPDATED"), "{out}");
}

#[test]
fn a_name_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let Said { code, out, err } = States::two().get(&["tool"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("\"tool\"") && err.contains("notes, tools"), "{err}");

    let Said { code, err, .. } = States::two().get(&["tool", "-w"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("notes, tools"), "{err}");

    let Said { code, err, .. } = States::new().get(&["tool"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("--state-dir"), "{err}");
}

#[test]
fn nothing_at_all_is_no_error() {
    let Said { code, out, err } = States::new().get(&[]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.contains("--state-dir"), "{err}");
    let none: Value = serde_json::from_str(&States::new().get(&["-o", "json"]).out).expect("JSON");
    assert_eq!(none["items"], json!([]));
}

#[test]
fn programs_get_the_objects_as_stored() {
    let states = States::two();
    let stored = state("tools", std::process::id(), "1 of 2 backends routable, 1 unavailable");
    let json: Value = serde_json::from_str(&states.get(&["tools", "-o", "json"]).out).expect("JSON");
    assert_eq!(without_ours(json), stored);
    let yaml: Value = serde_saphyr::from_str(&states.get(&["tools", "-o", "yaml"]).out).expect("YAML");
    assert_eq!(without_ours(yaml), stored);

    let list: Value = serde_json::from_str(&states.get(&["-o", "json"]).out).expect("JSON");
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("v1"), &json!("List")));
    assert_eq!(without_ours(list["items"][1].clone()), stored);
    let yaml: Value = serde_saphyr::from_str(&states.get(&["-o", "yaml"]).out).expect("YAML");
    assert_eq!(yaml, list);

    assert_eq!(states.get(&["-o", "name"]).out, "notes\ntools\n");
}

#[test]
fn headers_can_be_left_out() {
    let out = States::two().get(&["--no-headers"]).out;
    assert_eq!(out.lines().count(), 2);
    assert!(out.starts_with("notes   Degraded"), "{out}");
}

#[test]
fn wrong_usage_is_told_from_failure() {
    assert_eq!(States::new().get(&["-o", "xml"]).code, Some(2));
    assert_eq!(States::new().get(&["a", "b"]).code, Some(2));
}

#[test]
fn help_has_examples_and_exit_codes() {
    let Said { code, out, .. } = States::new().get(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Examples:") && out.contains("Exit codes:"), "{out}");
}

#[test]
fn a_pipe_gets_no_colours_and_no_color_none_either() {
    let states = States::two();
    for args in [&[][..], &["tools"], &["tools", "-o", "wide"]] {
        assert!(!states.get(args).out.contains('\u{1b}'));
        let mut forced = states.command(args);
        let out = said(forced.env("CLICOLOR_FORCE", "1").output().expect("it runs")).out;
        assert!(out.contains("\u{1b}[33mDegraded\u{1b}[0m"), "{out}");
        let out = said(forced.env("NO_COLOR", "1").output().expect("it runs")).out;
        assert!(!out.contains('\u{1b}'), "{out}");
    }
}

#[test]
fn only_one_whose_writer_is_gone_is_stale() {
    let mut ended = Command::new("true").spawn().expect("starts");
    ended.wait().expect("ends");
    let states = States::two();
    states.put("old", &state("old", ended.id(), "fine"));

    let out = states.get(&["-o", "wide"]).out;
    let stale: Vec<_> = out.lines().filter(|line| line.contains("Degraded (stale)")).collect();
    assert_eq!(stale.len(), 1, "{out}");
    assert!(stale[0].starts_with("old ") && stale[0].contains(&format!("gone 0s (pid {})", ended.id())), "{out}");

    let out = states.get(&["old"]).out;
    assert!(out.contains("Stale:      the reporter is gone; this is its last word\n"), "{out}");
    assert!(out.contains("Reporter:   gone since 2") && out.contains(&format!(" ago, pid {})\n", ended.id())), "{out}");
    assert!(!states.get(&["tools"]).out.contains("tale"));
}

#[test]
fn one_that_is_silent_for_long_is_stale() {
    let states = States::new();
    let mut silent = state("a", std::process::id(), "fine");
    silent["writer"]["time"] = json!("2020-01-01T00:00:00Z");
    silent["writer"]["refreshSeconds"] = json!(30);
    states.put("a", &silent);
    let out = states.get(&["a"]).out;
    assert!(out.contains("Degraded (stale)") && out.contains("silent"), "{out}");
}

#[test]
fn a_broken_file_is_named_and_hides_no_other() {
    let states = States::two();
    states.put_text("broken", "{\"kind\": \"\u{1b}[31m\"}");
    let Said { code, out, err } = states.get(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(out.lines().count(), 3);
    assert!(err.contains("broken.json") && err.contains("remove it"), "{err}");

    let Said { code, out, err } = states.get(&["broken"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("broken.json"), "{err}");
}

#[test]
fn a_terminal_is_safe_from_what_others_wrote() {
    let states = States::new();
    let evil = "\u{1b}]0;owned\u{7}\u{9b}2J\nline";
    let mut hostile = state("evil", std::process::id(), evil);
    hostile["status"]["discoveredBackends"][0]["name"] = json!(evil);
    hostile["status"]["discoveredBackends"][0]["url"] = json!(evil);
    states.put("evil", &hostile);
    // An error quotes what it does not understand.
    hostile["status"]["conditions"][0]["status"] = json!(evil);
    states.put("worse", &hostile);
    for format in ["table", "wide", "json", "yaml", "name"] {
        for args in [&["-o", format][..], &["evil", "-o", format], &["worse", "-o", format]] {
            let mut command = states.command(args);
            let Said { out, err, .. } = said(command.env("CLICOLOR_FORCE", "1").output().expect("it runs"));
            let ours = ["\u{1b}[33m", "\u{1b}[32m", "\u{1b}[31m", "\u{1b}[2m", "\u{1b}[0m"];
            let out = ours.iter().fold(out, |out, ours| out.replace(ours, ""));
            assert!(!(out + &err).chars().any(|char| char.is_control() && char != '\n'), "{args:?}");
        }
    }
    let out = states.get(&["evil"]).out;
    assert!(out.contains("Message:    \\u{1b}]0;owned\\u{7}\\u{9b}2J line\n"), "{out}");
}

#[test]
fn a_reader_that_has_gone_ends_it_quietly() {
    let states = States::two();
    for args in [&[][..], &["tools"], &["-o", "yaml"], &["-w"], &["tools", "-w", "-o", "json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = states.command(args);
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("it runs");
        let Said { code, err, .. } = said(child.wait_with_output().expect("it ends"));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn one_that_follows_ends_when_its_reader_goes_though_nothing_changes() {
    let states = States::two();
    let mut child = states.command(&["-w"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut first = [0; 4];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("a line");
    assert_eq!(&first, b"NAME");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_list_that_is_followed_gains_the_rows_that_change() {
    let states = States::two();
    let watch = states.watch(&["-w"]);
    assert!(watch.line().starts_with("NAME    PHASE"));
    assert!(watch.line().starts_with("notes   Degraded"));
    assert!(watch.line().starts_with("tools   Degraded"));

    let mut changed = state("tools", std::process::id(), "better");
    changed["status"]["phase"] = json!("Ready");
    states.put("tools", &changed);
    let line = watch.line();
    assert!(line.starts_with("tools   Ready      1/2") && line.ends_with("better"), "{line}");

    // Nothing but times: no news for a person.
    changed["writer"]["time"] = json!(a_minute_ago());
    states.put("tools", &changed);
    states.put("later", &state("later", std::process::id(), "new"));
    let line = watch.line();
    assert!(line.starts_with("later   Degraded   1/2"), "{line}");

    fs::remove_file(states.path().join("notes.json")).expect("removed");
    assert_eq!(next(&watch.err), "notes was removed");
    states.put_text("later", "{");
    assert!(next(&watch.err).contains("later.json"));
    assert_eq!(watch.end(), [""; 0]);
}

#[test]
fn one_that_is_followed_is_printed_again() {
    let states = States::two();
    let watch = states.watch(&["tools", "-w"]);
    while !watch.line().starts_with("Ready ") {}
    states.put("tools", &state("tools", std::process::id(), "changed"));
    assert_eq!([watch.line(), watch.line()], ["", "Name:       tools"]);
    while watch.line() != "Message:    changed" {}
    watch.end();
}

#[test]
fn one_that_is_followed_says_when_its_writer_ends() {
    let mut writer = Command::new("sleep").arg("600").spawn().expect("starts");
    let states = States::new();
    states.put("a", &state("a", writer.id(), "fine"));
    let watch = states.watch(&["-w", "--no-headers"]);
    assert!(watch.line().starts_with("a   Degraded   "));
    writer.kill().expect("killed");
    writer.wait().expect("ended");
    assert!(watch.line().starts_with("a   Degraded (stale)   "));
    assert_eq!(watch.end(), [""; 0]);
}

#[test]
fn programs_that_follow_get_object_after_object() {
    let states = States::two();
    let watch = states.watch(&["-w", "-o", "yaml"]);
    while watch.line() != "---" {}
    assert!(watch.line().starts_with("apiVersion:"));
    while !watch.line().starts_with("  pid:") {}
    assert!(watch.line().starts_with("  time:"));
    let mut changed = state("tools", std::process::id(), "better");
    changed["writer"]["time"] = json!(a_minute_ago());
    states.put("tools", &changed);
    assert_eq!(watch.line(), "---");
    let mut document = watch.line();
    while !document.contains("\n  time:") {
        document = [document, watch.line()].join("\n");
    }
    let object: Value = serde_saphyr::from_str(&document).expect("YAML");
    assert_eq!(without_ours(object), changed);
    assert_eq!(watch.end(), [""; 0]);

    let watch = states.watch(&["-w", "-o", "name"]);
    assert_eq!([watch.line(), watch.line()], ["notes", "tools"]);
    states.put("third", &changed);
    assert_eq!(watch.line(), "third");
    watch.end();
}

#[test]
fn following_waits_for_the_first_one() {
    let states = States::new();
    let watch = states.watch(&["-w"]);
    assert!(next(&watch.err).contains("--state-dir"));
    states.put("first", &state("first", std::process::id(), "hello"));
    assert!(watch.line().starts_with("NAME "));
    assert!(watch.line().starts_with("first "));
    watch.end();
}
