"""The genuine client of SDK 1.x, once: client.py URL."""
import asyncio
import sys

from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client


async def main(url):
    connect = sse_client if url.endswith("/sse") else streamablehttp_client
    async with connect(url) as streams, ClientSession(*streams[:2]) as session:
        await session.initialize()


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 20))
