"""The ten lines of the judge's page are run as they stand, on a service of the bench."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from analyzers.history import History
from analyzers.options import RampConfig
from analyzers.ticks import Action, Assignment, Tick
from bench.judge_world import EDGES, Arm, Run, Service, always, past
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "judge.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
SHOWN = (0.05, 0.1, 0.25, 0.5, 1.0)
COLUMNS = [EDGES.index(e) for e in SHOWN]


class Counts(NamedTuple):
    requests: int
    errors: int
    buckets: tuple[int, ...]
    cpu: float | None


def _merged(buckets: Any) -> Any:
    """The page's buckets out of the bench's."""
    cumulative = np.cumsum(buckets, axis=-1)
    kept = np.concatenate([cumulative[..., COLUMNS], cumulative[..., -1:]], axis=-1)
    return np.diff(kept, axis=-1, prepend=0.0)


def _counts(arm: Arm | None) -> Counts:
    assert arm is not None
    return Counts(arm.requests, arm.errors, tuple(int(x) for x in _merged(arm.buckets)), arm.usage)


def _run(service: Service) -> Any:
    rng = np.random.default_rng(20261123)
    before = past(service, rng)
    world = Run(service, rng)

    def observe(weight: Callable[[], float]) -> Iterator[tuple[Counts, Counts]]:
        for _ in range(240):
            seen = world.observe(weight())
            yield _counts(seen.canary), _counts(seen.baseline)

    history = {
        "errors": History(events=before.errors, requests=before.requests),
        "latency": History(buckets=_merged(before.buckets)),
        "cpu": History(values=before.usage),
    }
    names: dict[str, Any] = {"observe": observe, "history": history}
    exec(compile(CODE, "judge.md", "exec"), names)
    return names["answer"]


def test_the_ten_lines_promote_a_good_release_and_roll_back_bad_ones() -> None:
    """Errors, latency and CPU, each alone."""
    assert _run(Service()).action is Action.PROMOTE
    for bad, metric in (
        (Service(more_errors=always(0.03)), "errors"),
        (Service(slower=always(1.5)), "latency"),
        (Service(more_usage=1.6), "cpu"),
    ):
        answer = _run(bad)
        assert answer.action is Action.ROLLBACK
        assert answer.reasons[0].metric == metric


def test_the_page_names_every_field_action_and_assignment() -> None:
    """Nothing of the interface is missing from its page."""
    for name in (*Tick.__struct_fields__, *(a.value for a in Action), *(a.value for a in Assignment)):
        if name != "at":
            assert f"`{name}`" in PAGE, name


def test_the_page_s_defaults_are_the_code_s() -> None:
    """Rungs and bake, as written in words."""
    ramp = RampConfig()
    assert f"{', '.join(f'{r:g}' for r in ramp.rungs)} percent; a bake of {ramp.bake_seconds / 60:g} minutes" in PAGE
