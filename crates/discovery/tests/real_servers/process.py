"""A server that runs, and its own genuine client."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from catalog import Server
from install import entry

HERE = Path(__file__).parent
# Also where all of them start at once on two cores.
PATIENCE = 90


class Failed(Exception):
    """What was expected of a server did not come true."""


def wait_for(what, happens, patience=PATIENCE):
    """Returns what `happens` returns, as soon as that is true."""
    end = time.monotonic() + patience
    while not (answer := happens()):
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {patience} s")
        time.sleep(0.1)
    return answer


class Running:
    """A server that listens on a port of its own until the block ends."""

    def __init__(self, server: Server, home: Path, log: Path):
        self.server, self.home, self.log = server, home, log
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{server.path}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def start(self):
        environment = {**os.environ, "PORT": str(self.port), "PYTHONUNBUFFERED": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=environment)
        try:
            wait_for("the server listens", self.listens)
        except BaseException:
            self.__exit__()
            raise

    def restart(self):
        """Ends it and starts it anew, at the same address and with an empty log."""
        self.__exit__()
        self.start()

    def command(self) -> list[str]:
        run = str(entry(self.server, self.home))
        if self.server.package == "everything":
            return ["node", run, "sse" if self.server.mode == "sse" else "streamableHttp"]
        return [run, str(HERE / "server.py"), str(self.port), self.server.mode]

    def listens(self) -> bool:
        if self.process.poll() is not None:
            raise Failed("the server ended at once")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def use(self, times: int):
        """Lets the server's own client connect, ask and leave, so many times."""
        if self.server.package == "everything":
            # Imports are looked up from where the script lies.
            script = self.home / "client.mjs"
            script.write_text((HERE / "client.mjs").read_text())
            client = ["node", str(script)]
        else:
            client = [str(entry(self.server, self.home)), str(HERE / "client.py")]
        try:
            done = subprocess.run([*client, self.url, str(times)], capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"its own client needs more than {PATIENCE} s") from None
        if done.returncode != 0:
            raise Failed(f"its own client fails: {done.stderr[-2000:]}")
        expected = self.server.own_revision or self.server.revision
        if (agreed := done.stdout.split()) != [expected] * times:
            raise Failed(f"its own client agrees on {agreed}, where it should {times} times on {expected}")

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    def holds(self) -> dict[str, int]:
        """What the server holds for its clients, as far as it can tell."""
        held = {"open files": len(os.listdir(f"/proc/{self.process.pid}/fd"))}
        if self.server.package == "everything":
            log = "\n".join(self.lines())
            opened = len(re.findall("^(?:Session initialized with|Client Connected)", log, re.M))
            closed = len(re.findall("^(?:Transport closed for|Client Disconnected)", log, re.M))
            return {**held, "sessions": opened - closed}

        def counted():
            return [line for line in self.lines() if line.startswith("census ") and line.endswith("}")]

        before = len(counted())
        self.process.send_signal(signal.SIGUSR1)
        wait_for("the server counts", lambda: len(counted()) > before)
        return {**held, **json.loads(counted()[-1].removeprefix("census "))}

    def expect_no_more(self, before: dict[str, int], allowed: dict[str, int]):
        """Waits until nothing is held that was not before, save what is allowed."""

        def surplus():
            grown = growth(before, self.holds())
            return {kind: number for kind, number in grown.items() if number > allowed.get(kind, 0)}

        try:
            wait_for("", lambda: not surplus(), patience=15)
        except Failed:
            raise Failed(f"it keeps {surplus()}, where its own client leaves {allowed}") from None


def growth(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    grown = {kind: number - before.get(kind, 0) for kind, number in after.items()}
    return {kind: number for kind, number in grown.items() if number > 0}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
