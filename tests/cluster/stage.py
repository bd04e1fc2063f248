"""Scenarios that run several at a time: each waits for the cluster most of its life, and each has a namespace of its own.

    @scenario
    def test_something(shop: Shop) -> None: ...

stays one test with one name, one docstring and one outcome; when the first is asked for, all selected ones of the session begin in a
pool of threads, and each test hands over what became of its own. A test that must be alone with the daemon comes before or after all
of them: `in_one_row` sees to that.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.cluster.scenario import Shop
from tests.testbed.gateway import Gateway
from tests.testbed.linnet import Linnet
from tests.testbed.nodes import NodeAgent

Scenario = Callable[[Shop], None]
AT_ONCE = int(os.environ.get("LINNET_SCENARIOS_AT_ONCE", "4"))


class Stage:
    """Runs scenarios; `await_end` gives what became of one."""

    def __init__(self, linnet: Linnet, agent: NodeAgent, gateway: Gateway) -> None:
        self._parts = (linnet, agent, gateway)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario")
        self._runs: dict[Scenario, Future[None]] = {}

    def begin(self, body: Scenario) -> None:
        """Once for each, however many tests ask. The thread is born in the caller's network namespace, the cluster's."""
        if body not in self._runs:
            self._runs[body] = self._pool.submit(self._play, body)

    def await_end(self, body: Scenario) -> None:
        self.begin(body)
        self._runs[body].result()

    def _play(self, body: Scenario) -> None:
        shop = self.front()
        try:
            body(shop)
        finally:
            shop.close()
            shop.plane.kubectl("delete", "namespace", shop.namespace, "--wait=false", check=False)

    def front(self) -> Shop:
        """An empty namespace to open a shop in."""
        linnet, agent, gateway = self._parts
        name = f"s-{secrets.token_hex(4)}"
        linnet.plane.kubectl("create", "namespace", name)
        linnet.plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
        return Shop(linnet, agent, gateway, name)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _body(item: pytest.Item) -> Scenario | None:
    found: Scenario | None = getattr(getattr(item, "function", None), "scenario_body", None)
    return found


def in_one_row(items: list[pytest.Item]) -> None:
    """Moves every scenario up to the first, in place: no test that wants the daemon for itself lies between two of them."""
    where = next((position for position, item in enumerate(items) if _body(item)), len(items))
    items[where:] = [one for one in items[where:] if _body(one)] + [one for one in items[where:] if not _body(one)]


def scenario(body: Scenario) -> Callable[[Stage, pytest.FixtureRequest], None]:
    """A test whose body runs beside the other scenarios of the session."""

    def test(stage: Stage, request: pytest.FixtureRequest) -> None:
        for item in request.session.items:
            other = _body(item)
            if other is not None:
                stage.begin(other)
        stage.await_end(body)

    test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
    test.scenario_body = body  # type: ignore[attr-defined]
    return test
