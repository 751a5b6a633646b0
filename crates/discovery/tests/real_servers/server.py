"""An MCP server on a Python SDK: server.py PORT stateful|stateless|json|sse.

SIGUSR1 makes it print a census: what it holds for its clients, counted.
"""

import asyncio
import gc
import json
import signal
import sys
from collections import Counter

# Runs as long as the server does, from the first event stream on.
FOREVER = "_shutdown_watcher"


def take_census(*_):
    gc.collect()
    held = Counter()
    for task in asyncio.all_tasks():
        if task.get_coro().__qualname__ != FOREVER:
            held[f"task {task.get_coro().__qualname__}"] += 1
    for kind in map(type, gc.get_objects()):
        if kind.__module__.startswith("mcp.server") and kind.__name__.endswith(("Session", "Transport", "Connection")):
            held[kind.__name__] += 1
    print("census", json.dumps(held), flush=True)


def serve(port, mode):
    transport = "sse" if mode == "sse" else "streamable-http"
    options = {"host": "127.0.0.1", "port": port}
    if mode in ("stateless", "json"):
        options |= {"stateless_http": True, "json_response": mode == "json"}
    try:
        from mcp.server.fastmcp import FastMCP
    except ImportError:
        pass
    else:
        # Before 2.0.
        FastMCP("real", **options).run(transport)
        return
    try:
        from fastmcp import FastMCP as Server
    except ImportError:
        from mcp.server.mcpserver import MCPServer as Server
    Server("real").run(transport, **options)


signal.signal(signal.SIGUSR1, take_census)
serve(int(sys.argv[1]), sys.argv[2])
