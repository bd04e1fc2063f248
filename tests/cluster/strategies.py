"""Every strategy and every kind of step as one row of a table, and the five things that happen to a release in the middle of it.

`test_scenarios_strategies.py` walks each row on the real API server, and docs/reference/strategies.md is made of the same rows: a row
without one of the five cells cannot be written down.

    python -m tests.cluster.strategies    # writes the page
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.cluster.scenario import API, Object, Shop

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "strategies.md"
BAD: Final = "bad-60"  # fails in 60 of 100 requests
STAFF: Final = {"x-group": "staff"}
FIRST: Final = {"weight": 20, "dwell": {"minDuration": "2s"}}
HALF: Final = {"weight": 50, "dwell": {"minDuration": "3s"}}


def weight(least: int) -> Callable[[Object], bool]:
    """So much of the traffic was seen on the canary."""
    return lambda s: (s.get("weight") or 0) >= least and bool((s.get("rollout") or {}).get("exposedAt"))


def waits(reason: str) -> Callable[[Object], bool]:
    return lambda s: (s.get("waiting") or {}).get("reason") == reason


def picked(status: Object) -> bool:
    """The gateway has taken the match."""
    return any(route.get("observedPick") for route in status.get("routes") or ())


def check(seconds: int) -> Object:
    """A template that takes its time and agrees."""
    container = {"name": "check", "image": "pause:1", "command": ["sh", "-c", f"sleep {seconds}"]}
    job = {"spec": {"template": {"spec": {"containers": [container]}}}}
    metrics = [{"name": "run", "provider": {"job": job}}]
    return {"apiVersion": API, "kind": "AnalysisTemplate", "metadata": {"name": "check"}, "spec": {"metrics": metrics}}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of release: what a Canary says, when it is in the middle, and what a person does there so that it goes on."""

    name: str
    middle: str
    spec: Object
    is_middle: Callable[[Object], bool]
    says: str = ""  # the verb that lets it go on
    extra: Sequence[Object] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    rate: float = 30.0  # requests a second

    def go_on(self, shop: Shop) -> None:
        if self.says:
            shop.order(self.says)


def _step(step: Object) -> Object:
    return {"steps": [FIRST, step, HALF]}


ROWS: Final = (
    Row(name="`Canary`, `ramp: Steps`", middle="at its first weight", spec={"steps": [FIRST, HALF]}, is_middle=weight(20)),
    Row(
        name="`Canary`, `ramp: Adaptive`",
        middle="while it climbs",
        spec={"strategy": {"ramp": "Adaptive"}, "steps": [{"weight": 10}, {"weight": 50}]},
        is_middle=weight(1),
        rate=80.0,
    ),
    Row(
        name="`Canary`, `traffic.mode: PodRatio`",
        middle="at a quarter of the pods",
        spec={"traffic": {"mode": "PodRatio"}, "steps": [{**FIRST, "weight": 25}, HALF]},
        is_middle=weight(25),
        manifest={"replicas": 3},
    ),
    Row(
        name="`BlueGreen`, in its preview",
        middle="at its preview, waiting for an approval",
        spec={
            "strategy": {"type": "BlueGreen"},
            "steps": [{"name": "preview", "approval": {"timeout": "1h"}}, HALF, {"weight": 100, "dwell": {"minDuration": "2s"}}],
        },
        is_middle=waits("Approval"),
        says="approve",
    ),
    Row(
        name="`BlueGreen`, after its switch",
        middle="with all requests on the new version",
        spec={"strategy": {"type": "BlueGreen"}, "steps": [HALF, {"weight": 100, "dwell": {"minDuration": "10s"}}]},
        is_middle=weight(100),
    ),
    Row(
        name="step `pause`",
        middle="paused by its step",
        spec=_step({"pause": {}}),
        is_middle=lambda s: s.get("phase") == "Paused",
        says="resume",
    ),
    Row(
        name="step `approval`",
        middle="waiting for it",
        spec=_step({"approval": {"timeout": "1h"}}),
        is_middle=waits("Approval"),
        says="approve",
    ),
    Row(
        name="step `analysis`",
        middle="while its template runs",
        spec=_step({"analysis": {"name": "check"}}),
        is_middle=waits("Checking"),
        extra=[check(12)],
    ),
    Row(
        name="`analysis.templates` in the background",
        middle="at its first weight",
        spec={"steps": [FIRST, HALF], "templates": [{"name": "check"}]},
        is_middle=weight(20),
        extra=[check(1)],
    ),
    Row(
        name="step `match`",
        middle="while matched people alone meet it",
        spec={"steps": [{"match": {"headers": STAFF}, "dwell": {"minDuration": "1h"}}, HALF]},
        is_middle=picked,
        says="skip",
    ),
    Row(
        name="step `scale`",
        middle="at its first weight, with as many pods as stable",
        spec={"steps": [{"scale": 100}, FIRST, HALF]},
        is_middle=weight(20),
    ),
    Row(
        name="step `gate`",
        middle="while its Job runs",
        spec=_step({"gate": {"timeout": "5m", "job": check(12)["spec"]["metrics"][0]["provider"]["job"]}}),
        is_middle=waits("Gate"),
    ),
)


HEAD: Final = """# Strategies and steps

Every strategy and every kind of step, and what was shown of it on a real API server with the native controllers, a real gateway and pods that
serve requests: each cell is a release in `tests/cluster/test_scenarios_strategies.py`, run by CI. Made by `python -m tests.cluster.strategies`
from the rows that this suite walks.

| kind of release | its middle | good | aborted in its middle | a newer, bad version in its middle | daemon killed in its middle |
|---|---|---|---|---|---|
"""
TAIL: Final = """
**promoted**: the new version serves, and every other object of the user's, with its owners, is as it was. **back**: the version before
serves, and every object is as it was. **replaced, back**: the first canary leaves without blame, the bad version gets a release of its own and
is rolled back for its errors. **goes on**: the process that follows promotes it from where it was. In no cell does a request fail on its
way, and only requests that met the bad version got its errors.

Elsewhere, with what they need beside them:

| kind of release | shown by |
|---|---|
"""
ELSEWHERE: Final = {
    "flags alone (`traffic.mode: None`), good and bad, with Unleash": "test_flags_alone_are_judged_promoted_and_taken_back_without_touching_a_pod",
    "`mode: Observe`, good, bad, and taken back by its people": "test_what_is_only_observed_rolls_as_ever_and_is_judged_all_the_same",
    "step `mirror`, what is copied and what is not, on Contour's Envoy": "test_only_requests_that_are_picked_reach_the_canary",
    "steps with `flags`, good": "test_a_good_release_is_promoted_with_its_flag",
    "steps with `flags`, bad behind one of them": "test_a_version_that_is_bad_behind_its_flag_is_rolled_back_by_name",
    "`gate` by webhook, a no that holds and a yes that opens": "test_a_migration_comes_before_every_canary_pod_and_a_desk_before_half_of_the_traffic",
    "`judge: TemplatesOnly`, good and bad by a Job's exit code": "test_a_job_alone_promotes_and_its_failure_rolls_back_with_the_last_line_of_its_log",
}


def page() -> str:
    rows = [f"| {row.name} | {row.middle} | promoted | back | replaced, back | goes on |" for row in ROWS]
    others = [f"| {kind} | `{test}` |" for kind, test in ELSEWHERE.items()]
    return HEAD + "\n".join(rows) + "\n" + TAIL + "\n".join(others) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
