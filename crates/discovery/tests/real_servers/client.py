"""The genuine client of a Python SDK: client.py URL COUNT.

Connects, prints the revision, asks and leaves, COUNT times.
"""

import asyncio
import sys


async def use(url):
    if url.endswith("/sse"):
        from mcp.client.sse import sse_client as connect
    else:
        connect = None
    try:
        from mcp import Client
    except ImportError:
        await use_1(url, connect)
        return
    # Since 2.0. It knows streamable HTTP by the address alone.
    async with Client(connect(url) if connect else url) as client:
        print(client.protocol_version)
        await client.list_tools()


async def use_1(url, connect):
    from mcp import ClientSession
    if not connect:
        from mcp.client.streamable_http import streamablehttp_client as connect
    async with connect(url) as streams, ClientSession(*streams[:2]) as session:
        print((await session.initialize()).protocolVersion)
        await session.send_ping()


async def main(url, count):
    for _ in range(count):
        await asyncio.wait_for(use(url), 20)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
