// The genuine client of the TypeScript SDK: client.mjs URL COUNT.
// Connects, prints the revision, asks and leaves, COUNT times.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, count] = [new URL(process.argv[2]), Number(process.argv[3])];
for (let done = 0; done < count; done++) {
  const client = new Client({ name: "genuine", version: "1" });
  const Transport = url.pathname === "/sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  const transport = new Transport(url);
  const agreed = transport.setProtocolVersion.bind(transport);
  transport.setProtocolVersion = (revision) => {
    console.log(revision);
    agreed(revision);
  };
  await client.connect(transport);
  await client.ping();
  await transport.terminateSession?.();
  await client.close();
}
