"""What the judge of a release is given beside the ticks: what the hour before teaches, where it begins, and whose requests show the share."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from analyzers.history import History
from analyzers.options import JudgeConfig
from daemon.api.canary import Step, Strategy
from daemon.api.status import Forecast
from daemon.control.measuring import candidates, judge_config, learnt, splits
from daemon.control.resolved import Resolved
from tests.unit.control import world as w
from tests.unit.control.test_measuring import MARGINS, RATIO, Bench
from tests.unit.control.test_measuring import bench as bench
from tests.unit.control.world import Object

QUIET = {"errors": History(events=np.zeros((240, 12)), requests=np.ones((240, 12)))}  # 0.8 requests/s


def given(bench: Bench, metric: Object, **spec: object) -> tuple[Resolved, JudgeConfig]:
    _, resolved = bench.resolve({"metrics": [{"name": "errors", **metric}]}, bench.source())
    resolved = msgspec.structs.replace(resolved, spec=msgspec.structs.replace(resolved.spec, **spec))
    analysis = resolved.spec.analysis
    assert analysis is not None
    return resolved, judge_config(resolved, tuple(candidates(m, resolved)[0] for m in analysis.metrics or []))


@pytest.mark.parametrize(("margins", "widened"), [({}, True), (MARGINS, False)])
async def test_a_bound_that_its_owner_wrote_down_is_not_widened(bench: Bench, margins: Object, widened: bool) -> None:
    """At this traffic the default bound would take a day to prove, and becomes what can be; an owner's stays to the letter."""
    resolved, config = given(bench, {"ratio": RATIO, **margins})
    found = learnt(config, QUIET, resolved)
    assert (found.metrics[0].unacceptable != config.metrics[0].unacceptable) == widened
    assert found.metrics[0].history_phi is not None


async def test_a_ramp_begins_where_the_traffic_allows_and_the_first_step_does(bench: Bench) -> None:
    """15 requests a scrape, in whole percents, of the traffic that was measured before; never more than the first step's weight."""
    starts = []
    for first, rate in ((20, 0.8), (2, 0.8), (20, 40.0), (20, None)):
        spec = {"strategy": Strategy(ramp="Adaptive"), "steps": [Step(weight=first), Step(weight=50)]}
        resolved, config = given(bench, {"ratio": RATIO}, **spec)
        status = msgspec.structs.replace(resolved.canary.status, forecast=Forecast(requests_per_second=rate, coverage_percent=100))
        resolved = msgspec.structs.replace(resolved, canary=msgspec.structs.replace(resolved.canary, status=status))
        ramp = learnt(config, {}, resolved).ramp
        assert ramp is not None
        starts.append(ramp.start)
    assert starts == [5.0, 2.0, 2.0, 1.0]


async def test_where_pods_are_the_share_the_judge_has_no_ramp(bench: Bench) -> None:
    """It would wish for what nobody can set."""
    resolved, _ = given(bench, {"ratio": RATIO}, strategy=Strategy(ramp="Adaptive"), steps=[Step(weight=50)])
    by_pods = msgspec.structs.replace(resolved, pod_ratio=True)
    analysis = resolved.spec.analysis
    assert analysis is not None
    metrics = tuple(candidates(m, resolved)[0] for m in analysis.metrics or [])
    assert judge_config(resolved, metrics).ramp is not None
    assert judge_config(by_pods, metrics).ramp is None


async def test_only_a_router_that_counts_this_release_alone_shows_the_share(bench: Bench) -> None:
    """Pods also count who comes to them directly, and another route sends the Service requests that are not split."""
    for metric, other, wanted in (
        ({"preset": "TraefikErrorRatio"}, False, "errors"),
        ({"preset": "TraefikErrorRatio"}, True, None),
        ({"ratio": RATIO}, False, None),
    ):
        caches, resolved = bench.resolve({"metrics": [{"name": "errors", **metric}]}, bench.source())
        if other:
            bench._put(caches, w.route("other", "web"))
        analysis = resolved.spec.analysis
        assert analysis is not None
        metrics = tuple(candidates(m, resolved)[0] for m in analysis.metrics or [])
        assert splits(caches, resolved, metrics) == wanted
        assert judge_config(resolved, metrics).split == ("preset" in metric)
