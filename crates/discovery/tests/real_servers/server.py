"""An MCP server on the Python SDK: server.py PORT stateful|stateless|json|sse."""
import sys

port, mode = int(sys.argv[1]), sys.argv[2]
options = {"host": "127.0.0.1", "port": port}
try:
    from mcp.server.fastmcp import FastMCP
    if mode in ("stateless", "json"):
        options |= {"stateless_http": True, "json_response": mode == "json"}
    server = FastMCP("real", **options)
    server.run("sse" if mode == "sse" else "streamable-http")
except ImportError:
    try:
        from fastmcp import FastMCP as Server
    except ImportError:
        from mcp.server.mcpserver import MCPServer as Server
    if mode in ("stateless", "json"):
        options |= {"stateless_http": True, "json_response": mode == "json"}
    Server("real").run("sse" if mode == "sse" else "streamable-http", **options)
