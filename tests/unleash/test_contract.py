"""The provider's contract on a real Unleash, judged by the SDKs' own engine on what SDKs are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.testbed.unleash import Unleash
from tests.unit.flags.contract import GATE, ProviderContract, gated
from tests.unleash.world import UnleashWorld

pytestmark = pytest.mark.unleash


@pytest.fixture
async def world(unleash: Unleash) -> AsyncIterator[UnleashWorld]:
    made = UnleashWorld(unleash)
    yield made
    await made.close()


class TestContract(ProviderContract):
    """A flag whose environment is off, as a flag is created."""


class TestContractSettling(ProviderContract):
    """The environment is on already, with a strategy of people's at 0 %, and SDKs take 30 s."""

    @pytest.fixture
    async def world(self, unleash: Unleash) -> AsyncIterator[UnleashWorld]:
        made = UnleashWorld(unleash, settle=30.0, on=True)
        yield made
        await made.close()

    async def test_state_says_what_is_there(self, world: UnleashWorld) -> None:  # type: ignore[override]
        """The strategy of people's is listed beside ours."""
        await world.provider.apply(world.flag, gated(10), None)
        state = await world.provider.read(world.flag)
        assert (state.percent, state.gate, state.own, state.enabled, len(state.foreign)) == (10, GATE, True, True, 1)
