"""Scenarios that run several at a time: each waits for the cluster most of its life, and each has a namespace of its own.

    @scenario
    def test_something(shop: Shop) -> None: ...

stays one test with one name, one docstring and one outcome; when the first is asked for, all selected ones of the session begin in a
pool of threads, and each test hands over what became of its own. A test that must be alone with the daemon comes before or after all
of them: `in_one_row` sees to that. `pytest.mark.parametrize` under `@scenario` makes a scenario of each of its cases.
"""

from __future__ import annotations

import inspect
import os
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import pytest

from tests.cluster.scenario import Shop
from tests.testbed.gateway import Gateway
from tests.testbed.linnet import Linnet
from tests.testbed.nodes import NodeAgent

Scenario = Callable[..., None]  # takes a Shop, and by name what it is parametrized with
AT_ONCE = int(os.environ.get("LINNET_SCENARIOS_AT_ONCE", "4"))


class Stage:
    """Runs scenarios; `await_end` gives what became of one."""

    def __init__(self, linnet: Linnet, agent: NodeAgent, gateway: Gateway) -> None:
        self._parts = (linnet, agent, gateway)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario")
        self._runs: dict[tuple[Scenario, str], Future[None]] = {}

    def begin(self, body: Scenario, case: str = "", given: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Once for each, however many tests ask. The thread is born in the caller's network namespace, the cluster's."""
        if (body, case) not in self._runs:
            self._runs[body, case] = self._pool.submit(self._play, body, given)

    def await_end(self, body: Scenario, case: str = "") -> None:
        self._runs[body, case].result()

    def _play(self, body: Scenario, given: Mapping[str, Any]) -> None:
        shop = self.front()
        try:
            body(shop, **given)
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


def _given(item: pytest.Item) -> dict[str, Any]:
    """What this case is parametrized with."""
    case = getattr(item, "callspec", None)
    return dict(case.params) if case is not None else {}


def in_one_row(items: list[pytest.Item]) -> None:
    """Moves every scenario up to the first, in place: no test that wants the daemon for itself lies between two of them."""
    where = next((position for position, item in enumerate(items) if _body(item)), len(items))
    items[where:] = [one for one in items[where:] if _body(one)] + [one for one in items[where:] if not _body(one)]


def scenario(body: Scenario) -> Callable[..., None]:
    """A test whose body runs beside the other scenarios of the session."""

    def test(stage: Stage, request: pytest.FixtureRequest, **given: Any) -> None:
        for item in request.session.items:
            other = _body(item)
            if other is not None:
                stage.begin(other, item.name, _given(item))
        stage.await_end(body, request.node.name)

    mine = list(inspect.signature(test).parameters.values())[:2]
    cases = list(inspect.signature(body).parameters.values())[1:]
    test.__signature__ = inspect.Signature([*mine, *cases])  # type: ignore[attr-defined]
    test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
    test.pytestmark = getattr(body, "pytestmark", [])  # type: ignore[attr-defined]
    test.scenario_body = body  # type: ignore[attr-defined]
    return test
