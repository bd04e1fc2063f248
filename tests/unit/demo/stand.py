"""A play without a stage: the scene and the load's counts are set by hand, so that what is said about them can be read."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from daemon.api.status import CanaryStatus, FlagStatus, RolloutStatus, Waiting
from daemon.cli.demo.account import Result
from daemon.cli.demo.play import Play
from daemon.cli.demo.script import DemoOptions, releases
from daemon.cli.demo.stage import Stage
from daemon.sandbox.inbox import Inbox
from daemon.sandbox.load import Outcome as Answer

SENTENCE = "shop 30d47 rolled back after 15 s at 50 %: 23 of 848 canary requests failed (2.7 %), baseline 0 %; 180 : 1 against."


def answer(version: str, track: str = "", flag: str = "off", status: int = 200) -> Answer:
    return Answer(version=version, track=track, flag=flag, status=status)


COUNTS: Counter[Answer] = Counter(
    {
        answer("v1"): 100,
        answer("v3", "canary", "on"): 97,
        answer("v3", "canary", "on", 500): 3,
        answer("v3", "canary", "off"): 10,
    }
)


def play(options: DemoOptions | None = None) -> Play:
    stage = SimpleNamespace(
        client=None,
        url="http://127.1.0.1:8000",
        inbox=Inbox(),
        made_of="Simulated: nothing here.",
        command="linnet run --kubeconfig /tmp/linnet-sandbox-abcdefgh/linnet.kubeconfig --cluster-name sandbox",
        kubeconfig=Path("/tmp/linnet-sandbox-abcdefgh/kubeconfig"),
    )
    return Play(cast("Stage", stage), options or DemoOptions(), lambda _: None)


def under_way(**status: Any) -> Play:
    """The first release at 10 %."""
    found = play()
    found.scene.release = releases(found.options)[0]
    found.scene.weight = 10
    found.scene.status = CanaryStatus(
        phase="Progressing",
        step="1/2 10%",
        rollout=RolloutStatus(revision="f985d", started_at="2026-01-01T00:00:00Z"),
        flags=[FlagStatus(name="new-checkout", key="new-checkout", source="default", written=100)],
        waiting=Waiting(reason="Dwell", message="step 10% lasts at least until then"),
        **status,
    )
    found.load.outcomes.update(COUNTS)
    return found


def result(play: Play, number: int = 1, outcome: Any = "RolledBack", **more: Any) -> Result:
    release = releases(play.options)[number]
    return Result(release=release, outcome=outcome, revision="30d47", seconds=22.1, sentence=SENTENCE, **more)
