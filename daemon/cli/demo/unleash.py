"""The demo's flags on an Unleash that is there already: made before the play, archived after it.

Unleash is a server of its own with a licence of its own, and needs a database: the demo talks to one, and neither ships nor starts it.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from daemon.cli.demo.script import UnleashPlace
from daemon.cli.trouble import DemoError

DEADLINE: Final = aiohttp.ClientTimeout(total=10)


@contextlib.asynccontextmanager
async def flags_on(place: UnleashPlace | None, flags: Iterable[str]) -> AsyncIterator[None]:
    """The flags are there while the block runs, off for everybody; nothing is done where there is no Unleash."""
    if place is None:
        yield
        return
    base = f"{place.url.rstrip('/')}/api/admin/projects/{quote(place.project, safe='')}/features"
    made: list[str] = []
    async with aiohttp.ClientSession(timeout=DEADLINE, headers={"Authorization": place.token}) as session:
        try:
            for flag in flags:
                await _ask(session, "POST", base, {"name": flag, "type": "release", "description": "linnet demo"})
                made.append(flag)
            yield
        finally:
            for flag in made:
                # What cannot be put away is named by the server's own page; the play's outcome stands.
                with contextlib.suppress(DemoError):
                    await _ask(session, "DELETE", f"{base}/{quote(flag, safe='')}")


async def _ask(session: aiohttp.ClientSession, method: str, url: str, body: dict[str, Any] | None = None) -> None:
    try:
        async with session.request(method, url, json=body) as answer:
            if answer.status < 300:
                return
            said = " ".join((await answer.text())[:300].split())
            raise DemoError(
                f"--unleash: {method} {url}: {answer.status} {said}; the token needs the right to make flags (an Editor's has it)"
            )
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DemoError(f"--unleash: {url} does not answer: {type(error).__name__} {error}; is Unleash running there?") from error
