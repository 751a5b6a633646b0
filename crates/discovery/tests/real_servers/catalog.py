"""The servers that are checked, and what each should negotiate with us."""

from dataclasses import dataclass

# These releases use what newer ones of pydantic do not have.
OLD_PYDANTIC = ("pydantic<2.12",)
# With a newer one they die as soon as a client ends its session: `dies_of_delete`.
OLD_ANYIO = ("anyio<4.10",)


@dataclass(frozen=True)
class Server:
    """One server: a release of a package, and how it serves."""

    package: str
    version: str
    # stateful, stateless, json (stateless, no event streams) or sse (2024-11-05's transport).
    mode: str
    # On which it agrees with us.
    revision: str
    pins: tuple[str, ...] = ()
    # Part of the name where one release is installed in two ways.
    variant: str = ""
    # On which it agrees with its own client, where that is another one: we do not
    # ask for discovery over the transport of 2024-11-05.
    own_revision: str = ""
    # Checked by default, and so in CI.
    by_default: bool = False
    # The server answers the end of a session, and then nothing any more; its own
    # client has the same effect. It is left alone as soon as that shows.
    dies_of_delete: bool = False

    @property
    def home(self) -> str:
        """The name of its installation."""
        return f"{self.package}-{self.version}{self.variant}"

    @property
    def name(self) -> str:
        return f"{self.home}:{self.mode}"

    @property
    def path(self) -> str:
        return "/sse" if self.mode == "sse" else "/mcp"


def old(version: str, mode: str, revision: str, **more) -> Server:
    pins = OLD_PYDANTIC + (OLD_ANYIO if version.startswith(("1.8.", "1.9.")) else ())
    return Server("mcp", version, mode, revision, pins, **more)


SERVERS = [
    old("1.8.1", "stateful", "2024-11-05"),
    Server("mcp", "1.8.1", "stateful", "2024-11-05", OLD_PYDANTIC, "-new-anyio", dies_of_delete=True, by_default=True),
    old("1.8.1", "stateless", "2024-11-05"),
    old("1.8.1", "sse", "2024-11-05"),
    old("1.9.0", "stateful", "2025-03-26"),
    old("1.9.0", "stateless", "2025-03-26", by_default=True),
    old("1.9.4", "stateful", "2025-03-26"),
    old("1.9.4", "stateless", "2025-03-26"),
    old("1.9.4", "json", "2025-03-26"),
    old("1.10.0", "stateful", "2025-06-18"),
    old("1.10.0", "stateless", "2025-06-18"),
    old("1.12.4", "stateful", "2025-06-18"),
    old("1.12.4", "json", "2025-06-18"),
    old("1.12.4", "sse", "2025-06-18"),
    Server("mcp", "1.30.0", "stateful", "2025-11-25", by_default=True),
    Server("mcp", "1.30.0", "stateless", "2025-11-25"),
    Server("mcp", "1.30.0", "json", "2025-11-25"),
    Server("mcp", "1.30.0", "sse", "2025-11-25", by_default=True),
    Server("mcp", "2.3.0", "stateful", "2026-07-28"),
    Server("mcp", "2.3.0", "stateless", "2026-07-28", by_default=True),
    Server("mcp", "2.3.0", "json", "2026-07-28"),
    Server("mcp", "2.3.0", "sse", "2025-11-25", own_revision="2026-07-28"),
    Server("fastmcp", "4.2.3", "stateful", "2026-07-28"),
    Server("fastmcp", "4.2.3", "stateless", "2026-07-28"),
    Server("fastmcp", "4.2.3", "sse", "2025-11-25", own_revision="2026-07-28"),
    Server("everything", "2026.8.31", "stateful", "2025-11-25", by_default=True),
    Server("everything", "2026.8.31", "sse", "2025-11-25", by_default=True),
]
