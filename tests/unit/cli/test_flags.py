"""`linnet flags` and `linnet cohort who`: each share, what the source says of it, and whom it lets in."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.api.status import CohortStatus, FlagStatus, FlagUsage
from daemon.cli import flags
from daemon.cli.consult import _unmet
from flags.buckets import bucket
from tests.sandbox.workbench import service, web
from tests.unit.cli.world import canary, route, world

FILE = {"flags": {"new": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}}}
FLAGGED: dict[str, Any] = {
    "strategy": {"ramp": "Steps"},
    "flags": [{"name": "new", "cohorts": [{"name": "beta", "constraints": [{"attribute": "plan", "values": ["beta"]}]}]}],
    "steps": [{"weight": 20, "flags": [{"name": "new", "percent": 40, "cohorts": [{"name": "beta", "percent": 100}]}]}],
}


def objects() -> list[dict[str, Any]]:
    meta = {"namespace": "default"}
    spec = {"type": "Flagd", "flagd": {"configMapRef": {"name": "flags", "key": "flags.json"}, "settle": "0s"}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags", **meta}, "data": {"flags.json": json.dumps(FILE)}},
        {"apiVersion": "linnet.dev/v1alpha1", "kind": "FlagSource", "metadata": {"name": "default", **meta}, "spec": spec},
    ]


async def test_each_share_is_shown_and_people_can_ask_whom_it_lets_in(tmp_path: Path) -> None:
    """Wanted, written and seen for everyone and beta; a source of another rule says so instead of guessing."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing(*objects(), **FLAGGED)
        await w.bench.until(lambda: [f.get("written") for f in w.status().get("flags") or []] == [40], "written")
        shown = await w.run("flags", "web", "-o", "json")
        assert shown.exit_code == 0, shown.output
        rows = json.loads(shown.output)
        assert [(r["flag"], r["cohort"], r["wanted"], r["written"]) for r in rows] == [("new", "all", 40, 40), ("new", "beta", 100, 100)]
        assert [r.get("evaluated") for r in rows] == [{"found": "Unknown"}, None]  # flagd counts nothing
        printed = (await w.run("flags", "web")).output
        assert "beta" in printed
        assert "unknown" in printed
        asked = await w.run("cohort", "who", "web", "--user", "u1", "--property", "plan=beta")
        assert (asked.exit_code, "type Flagd" in asked.output) == (0, True), asked.output
        missed = await w.run("cohort", "who", "web", "--user", "u1", "--flag", "nwe")
        assert (missed.exit_code, "there are: new" in missed.output) == (1, True), missed.output
        wrong = await w.run("cohort", "who", "web", "--user", "u1", "--property", "plan")
        assert (wrong.exit_code, "write KEY=VALUE" in wrong.output) == (2, True), wrong.output


async def test_whom_an_aligned_flag_lets_in_goes_by_the_group_of_the_route(tmp_path: Path) -> None:
    """Not by the flag's key, which is the group of any other flag."""
    ref = {"name": "unleash", "key": "token"}
    unleash = {"url": "http://127.0.0.1:9", "environment": "production", "tokenSecretRef": ref}
    meta = {"name": "default", "namespace": "default"}
    source = {"apiVersion": "linnet.dev/v1alpha1", "kind": "FlagSource", "metadata": meta, "spec": {"type": "Unleash", "unleash": unleash}}
    async with world(tmp_path) as w:
        w.apply(service(), route(), source, web("app:v1", 3), canary(flags=[{"name": "new", "mode": "Aligned"}]))
        asked = await w.run("cohort", "who", "web", "--user", "ann", "-o", "json")
        assert asked.exit_code == 0, asked.output
        assert [found["bucket"] for found in json.loads(asked.output)] == [bucket("linnet", "ann")] != [bucket("new", "ann")]


@pytest.mark.parametrize(
    ("usage", "shown", "level"),
    [
        (None, "unknown", None),
        (FlagUsage(found="Unknown", message="403: may not read metrics"), "unknown", None),
        (FlagUsage(found="Confirmed", yes=44, no=56), "44 / 56", None),
        (FlagUsage(found="NoExposure", no=1200, message="never on"), "0 / 1200", "WARN"),
        (FlagUsage(found="NoExposure", message="never evaluated"), "0 / 0", "WARN"),
        (FlagUsage(found="ExposureMismatch", yes=900, no=100, message="was on in 90 %"), "900 / 100", "WARN"),
    ],
)
def test_how_often_a_flag_was_met_is_shown_and_the_doctor_warns(
    usage: FlagUsage | None, shown: str, level: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once for a flag, since its source does not say which cohort asked; an app that shows no track is told of LINNET_TRACK."""
    flag = FlagStatus(name="new", key="new", source="unleash", wanted=100, usage=usage, cohorts=[CohortStatus(name="beta")])
    rows = flags.shares_of(flag)
    flags._print(rows)
    printed = capsys.readouterr().out
    assert printed.count(shown) == 1
    found = _unmet("Canary shop/web", flag)
    assert (found.level if found else None) == level
    if usage is not None and found is not None:
        assert usage.message.split()[0] in printed
        assert usage.message in found.message
        assert ("LINNET_TRACK" in found.way_out) == (usage.found == "NoExposure" and usage.no > 0)
