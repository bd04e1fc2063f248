"""`linnet notify test` posts one real message, and names what is wrong without showing the address."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web as http

from tests.unit.cli.world import Object, World, world


@asynccontextmanager
async def inbox() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook and what was posted to it."""
    got: list[dict[str, Any]] = []

    async def take(request: http.Request) -> http.Response:
        got.append(json.loads(await request.text()))
        return http.Response(text="ok")

    app = http.Application()
    app.router.add_post("/hook-s3cret", take)
    runner = http.AppRunner(app)
    await runner.setup()
    await http.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"json://{host}:{port}/hook-s3cret", got
    finally:
        await runner.cleanup()


def notifier(namespace: str, **spec: Any) -> Object:
    body = {"urlSecretRef": {"name": "chat", "key": "url"}, **spec}
    return {"apiVersion": "linnet.dev/v1alpha1", "kind": "Notifier", "metadata": {"name": "chat", "namespace": namespace}, "spec": body}


def secret(w: World, namespace: str, url: str) -> None:
    data = {"url": base64.b64encode(url.encode()).decode()}
    w.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat", "namespace": namespace}, "data": data})


async def test_a_message_is_delivered_from_the_catalogue(tmp_path: Path) -> None:
    """A tenant may try a shared Notifier that admits it; who sent it is in the message."""
    async with world(tmp_path) as w, inbox() as (url, got):
        w.apply(notifier("linnet-system", allowedNamespaces=["default"]))
        secret(w, "linnet-system", url)
        done = await w.run("notify", "test", "chat")
        assert done.exit_code == 0, done.output
        assert "delivered through Notifier linnet-system/chat" in done.output
        assert "s3cret" not in done.output
        assert len(got) == 1
        assert "Test message of Notifier linnet-system/chat" in json.dumps(got)


async def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    """Not admitted, no Secret, no such Notifier, a server that is not there: each its sentence, none the address."""
    async with world(tmp_path) as w:
        w.apply(notifier("linnet-system"))
        done = await w.run("notify", "test", "chat")
        assert done.exit_code == 1
        assert "add it to its spec.allowedNamespaces" in done.output
        done = await w.run("notify", "test", "chat", "-n", "linnet-system")
        assert "Secret linnet-system/chat does not exist" in done.output
        assert "exists neither in default nor in linnet-system" in (await w.run("notify", "test", "pager")).output
        secret(w, "linnet-system", "json://127.0.0.1:9/hook-s3cret")
        done = await w.run("notify", "test", "chat", "-n", "linnet-system")
        assert done.exit_code == 1
        assert "s3cret" not in done.output
