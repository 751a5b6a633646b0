"""Installs servers from their registries, once each, into a cache of ours."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from catalog import Server

TRIES = 3
EVERYTHING = "@modelcontextprotocol/server-everything"


class InstallError(Exception):
    """A server that cannot be installed."""


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VMCP_STATUS_TEST_CACHE") or Path(base) / "vmcp-status-tests") / "mcp-servers"


def install(server: Server) -> Path:
    """Returns where it is installed.

    A registry may be out of reach for a moment, but not three times.
    """
    # What the pins are is part of what is cached.
    home = cache() / "_".join([server.home, *(pin.replace("<", "-below-") for pin in server.pins)])
    complete = home / ".complete"
    # The interpreter is a link, which outlives what it points to.
    if complete.exists() and entry(server, home).exists():
        return home
    for tried in range(1, TRIES + 1):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        try:
            for command in commands(server, home):
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{server.home}: installation failed (try {tried} of {TRIES}): {error}", file=sys.stderr)
            time.sleep(tried * 10 if tried < TRIES else 0)
        else:
            complete.touch()
            return home
    raise InstallError(f"{server.home} cannot be installed: are PyPI and npm's registry reachable?")


def entry(server: Server, home: Path) -> Path:
    """What is run: the server itself, or the Python that has its SDK."""
    if server.package == "everything":
        return home / "node_modules" / EVERYTHING / "dist/index.js"
    return home / "bin/python"


def commands(server: Server, home: Path) -> list[list[str]]:
    if server.package == "everything":
        npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix", str(home)]
        return [[*npm, f"{EVERYTHING}@{server.version}"]]
    pip = [str(home / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    return [
        [sys.executable, "-m", "venv", str(home)],
        [*pip, f"{server.package}=={server.version}", "uvicorn", *server.pins],
    ]
