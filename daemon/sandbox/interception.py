"""Takes what would go to Slack and Teams to an inbox on this machine, without the sender knowing.

The real addresses stay in the Notifier's Secret and the real code posts to them: the daemon is only told of a proxy and of an
authority to trust, as behind many a company's firewall. The proxy connects every call to the inbox and refuses all other hosts, so
that nothing leaves the machine. The authority is made for one run and its key never leaves the process.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from daemon.sandbox.inbox import Inbox

_HEAD = 8192  # bytes of a request's head, more than any client sends
_PATIENCE = 10.0


@contextlib.asynccontextmanager
async def intercepting(inbox: Inbox, hosts: Sequence[str], folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """The inbox poses as `hosts` meanwhile; yields the environment that a process needs to post there."""
    import trustme

    authority = trustme.CA(organization_name="linnet sandbox")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(tls)
    bundle = folder / "inbox-ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with inbox.listening(tls=tls), _proxy(frozenset(hosts), inbox) as url:
        yield {"HTTPS_PROXY": url, "NO_PROXY": "127.0.0.1,localhost", "REQUESTS_CA_BUNDLE": str(bundle)}


@contextlib.asynccontextmanager
async def _proxy(hosts: frozenset[str], inbox: Inbox) -> AsyncIterator[str]:
    calls: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls.add(task)
        try:
            await _serve(reader, writer, hosts, inbox)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the caller hung up, or sent what is no request: its loss
        finally:
            calls.discard(task)
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=_HEAD)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for call in tuple(calls):
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hosts: frozenset[str], inbox: Inbox) -> None:
    """One CONNECT: to the inbox, or refused."""
    async with asyncio.timeout(_PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = head.decode("latin-1").partition(" ")
    host = rest.partition(" ")[0].rpartition(":")[0]
    if method != "CONNECT" or host not in hosts:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        return
    there = urlsplit(inbox.url)
    inner, outer = await asyncio.open_connection(there.hostname, there.port)
    try:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, outer))
            group.create_task(_copy(inner, writer))
    except* OSError:
        pass  # one end closed while the other still wrote
    finally:
        outer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
