#!/usr/bin/env python3
"""Checks MCP servers that are not ours, and expects each to be as it was.

They are installed by name, with Python, pip, node and npm. A process of its own
checks each server once and another one ten times; each check is ready, in the
revision that catalog.py names. Afterwards the server holds no more than ten visits
of its own client would leave, has logged nothing wrong that this client does not
cause alone, and serves it as before.
"""

import argparse
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The checkout stays as it is.
sys.dont_write_bytecode = True

from catalog import SERVERS, Server
from checks import check
from install import InstallError, install
from process import Failed

AT_ONCE = 4


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=Path, help="the program vmcp-status")
    arguments.add_argument("names", nargs="*", metavar="NAME", help="such as mcp-1.9.0:stateless [default: some]")
    arguments.add_argument("--all", action="store_true", help="check all servers of the catalog")
    arguments.add_argument("--list", action="store_true", help="only list their names")
    given = arguments.parse_args()
    unknown = set(given.names) - {server.name for server in SERVERS}
    if unknown:
        arguments.error(f"no such server: {' '.join(unknown)}; --list shows all")
    chosen = [
        server
        for server in SERVERS
        if given.all or server.name in given.names or (server.by_default and not given.names)
    ]
    if given.list:
        print("\n".join(server.name for server in chosen))
        return 0
    started = time.monotonic()
    homes = install_all(chosen)
    print(f"{len(homes)} installations, {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        passed = list(pool.map(lambda server: try_out(server, homes[server.home], given.program.resolve()), chosen))
    print(f"{sum(passed)} of {len(passed)} servers as they were, {time.monotonic() - started:.0f} s")
    return 0 if all(passed) else 1


def install_all(servers: list[Server]) -> dict[str, Path]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wanted = {server.home: server for server in servers}
        return dict(zip(wanted, pool.map(install, wanted.values())))


def try_out(server: Server, home: Path, program: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="vmcp-status-real-") as work:
        try:
            checks = check(server, home, program, Path(work))
        except Exception as error:
            why = str(error) if isinstance(error, Failed) else traceback.format_exc()
            log = Path(work) / "server.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            end = "\n".join([line for line in lines if not line.startswith("census")][-40:])
            print(f"{server.name}: {why}\nits log ends:\n{end}\n", file=sys.stderr, flush=True)
            return False
    print(f"{server.name}: ready in {server.revision}, {checks} checks", flush=True)
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InstallError as error:
        sys.exit(str(error))
