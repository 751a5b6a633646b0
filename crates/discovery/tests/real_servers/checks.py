"""Checks a server with the program, and finds out whether that did it harm."""

import re
from collections import Counter
from pathlib import Path

from catalog import Server
from process import Failed, Running, growth, wait_for
from program import Program

CHECKS = 10
# A process of its own makes the first check, and another one all others.
PROCESSES = 2
REFUSED = re.compile(r'" 4\d\d ')
PROBLEM = re.compile(r'WARN|ERROR|CRITICAL|Traceback|Exception|\bError\b|" 5\d\d ')


def check(server: Server, home: Path, program: Path, work: Path) -> int:
    """Returns how often; raises `Failed` with what is wrong, if anything is."""
    if server.dies_of_delete:
        return check_fragile(server, home, program, work)
    allowed, usual = as_its_own_client(server, home, work)
    with Running(server, home, work / "server.log") as running:
        before = running.holds()
        ours = Program(program, running.url, work)
        ours.once()
        expect_ready(ours, server)
        with ours:
            wait_for(f"{CHECKS} checks", lambda: len(ours.checks()) >= CHECKS)
            ours.shut_down()
        expect_all_ready(ours.checks(), ours)
        expect_ready(ours, server)
        running.expect_no_more(before, allowed)
        expect_quiet(running.lines(), usual)
        running.use(1)
    return 1 + len(ours.checks())


def as_its_own_client(server: Server, home: Path, work: Path) -> tuple[dict[str, int], Counter[str]]:
    """What the server keeps of as many visits of its own client, and what it logs."""
    with Running(server, home, work / "genuine.log") as running:
        before = running.holds()
        running.use(CHECKS + 1)
        return growth(before, running.holds()), kinds(running.lines(), PROBLEM, REFUSED)


def check_fragile(server: Server, home: Path, program: Path, work: Path) -> int:
    """A server that dies as its first session is ended gets no second chance to."""
    with Running(server, home, work / "server.log") as running:
        ours = Program(program, running.url, work)
        with ours:
            wait_for("the death of the server", lambda: any(check["failures"] for check in ours.checks()))
            running.restart()
            wait_for("the return of the server", lambda: ours.checks()[-1]["failures"] == 0)
            returned = len(ours.checks())
            wait_for(f"{CHECKS} checks", lambda: len(ours.checks()) >= returned + CHECKS)
            ours.shut_down()
        if ended := [line for line in running.lines() if "DELETE" in line]:
            raise Failed(f"it dies of a DELETE, and gets another one: {ended}")
        expect_all_ready(ours.checks()[returned:], ours)
        expect_ready(ours, server)
        expect_quiet(running.lines(), Counter())
        # The first visitor that ends its session.
        running.use(1)
    return len(ours.checks())


def expect_ready(ours: Program, server: Server):
    backend = ours.backend()
    found = backend["status"], backend.get("mcpRevision")
    if found != ("ready", server.revision):
        raise Failed(f"{found} is reported, where it should be ready in {server.revision}: {backend}")


def expect_all_ready(checks: list[dict], ours: Program):
    if any((check["status"], check["failures"]) != ("ready", 0) for check in checks):
        raise Failed(f"checks fail: {[(check['status'], check['failures']) for check in checks]}")
    if ours.warnings():
        raise Failed(f"the program warns: {ours.warnings()}")


def expect_quiet(lines: list[str], usual: Counter[str]):
    """Nothing is wrong in the server's log that its own client does not cause.

    A server may refuse what it is asked to become known, once in each process.
    """
    strange = {kind: number for kind, number in kinds(lines, PROBLEM).items() if kind not in usual}
    refused = kinds(lines, REFUSED)
    strange |= {kind: number for kind, number in refused.items() if number > usual[kind] + PROCESSES}
    if strange:
        raise Failed(f"in its log, so many times: {strange}")


def kinds(lines: list[str], *patterns: re.Pattern) -> Counter[str]:
    """How many lines of each kind there are that match one of the patterns."""
    plain = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines)
    wanted = (line for line in plain if any(pattern.search(line) for pattern in patterns))
    # Sessions, ports and times.
    return Counter(re.sub(r"[0-9a-f-]{32,36}|:\d+|\d+:\d\d:\d\d", "…", line) for line in wanted)
