"""A stored verdict can be given again, and a log that was tampered with cannot."""

from __future__ import annotations

import base64
import random
import zlib
from typing import Any

import msgspec
import pytest

from analyzers.errors import EvidenceError
from analyzers.evidence import EvidenceLog, Log, read, replay, walk, write
from analyzers.judge import Judge
from analyzers.ticks import (
    Answer,
    ArmCounts,
    Assignment,
    BucketCounts,
    GaugeValues,
    MetricCounts,
    Problem,
    ProblemKind,
    SplitCounts,
    Tick,
)
from tests.unit.analyzers.world import config, tick


def _record(ticks: int, *, limit: int = 128 * 1024, seed: int = 7) -> tuple[EvidenceLog, Answer]:
    rng, judge, log = random.Random(seed), Judge(config()), EvidenceLog(config(), limit=limit)
    answer = None
    for k in range(ticks):
        weight = (1.0, 5.0, 20.0)[min(2, k // 20)]
        problems = (Problem(kind=ProblemKind.STALE, text="late"),) if k % 17 == 16 else ()
        one = tick(5000 + k, weight, (rng.randrange(100, 900), rng.randrange(3)), (9000, rng.randrange(20)), problems=problems, warm=k > 2)
        answer = judge.tick(one)
        log.append(one, answer)
    assert answer is not None
    return log, answer


def test_a_stored_log_gives_the_same_answer_again() -> None:
    """T18: twice, number for number, from text alone."""
    log, answer = _record(80)
    text = log.pack()
    assert replay(text) == answer
    assert replay(text) == replay(text)


def test_a_log_gives_every_tick_back_as_it_came() -> None:
    """Counts, buckets, usage, the split, pods, and what was known of the tick: a replay judges by all of it."""
    full = Tick(
        index=11,
        at=165.0,
        weight=20.0,
        arms={"errors": MetricCounts(ArmCounts(100, 1), ArmCounts(400, 2))},
        warm=False,
        settled=False,
        problems=(Problem(kind=ProblemKind.PARTIAL, text="one replica is away", metric="errors"),),
        buckets={"latency": BucketCounts((90, 10), (380, 20))},
        gauges={"cpu": GaugeValues(0.25, None)},
        split=SplitCounts(100, 400),
        units=(1, 4),
        assignment=Assignment.MIRRORED,
    )
    log, judge = EvidenceLog(config()), Judge(config())
    fed = [tick(10, 5.0, (100, 0), (1900, 2)), full, msgspec.structs.replace(full, index=12, at=180.0, warm=True)]
    for one in fed:
        log.append(one, judge.tick(one))
    assert [t for t, _, _ in walk(read(log.pack()))] == fed


def test_a_permuted_log_is_refused() -> None:
    """T18: entries swapped with their indices, and contents swapped under them."""
    stored = read(_record(30)[0].pack())
    swapped = list(stored.entries)
    swapped[3], swapped[9] = swapped[9], swapped[3]
    with pytest.raises(EvidenceError, match="not in order"):
        replay(write(msgspec.structs.replace(stored, entries=tuple(swapped))))
    renamed = [msgspec.structs.replace(e, index=stored.entries[i].index) for i, e in enumerate(swapped)]
    with pytest.raises(EvidenceError, match="digest"):
        replay(write(msgspec.structs.replace(stored, entries=tuple(renamed))))


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: msgspec.structs.replace(s, entries=s.entries[:-1]),
        lambda s: msgspec.structs.replace(s, entries=(msgspec.structs.replace(s.entries[0], weight=50.0), *s.entries[1:])),
        lambda s: msgspec.structs.replace(s, config=config(max_false_rollback_percent=5.0)),
        lambda s: msgspec.structs.replace(s, version=1),
    ],
    ids=["shortened", "edited", "other margins", "other version"],
)
def test_an_edited_log_is_refused(damage: Any) -> None:
    """Neither counts nor options nor the end of a log can be changed unnoticed."""
    stored: Log = read(_record(30)[0].pack())
    with pytest.raises(EvidenceError):
        replay(write(damage(stored)))


@pytest.mark.parametrize("text", ["", "?", base64.b64encode(b"no zlib").decode(), base64.b64encode(zlib.compress(b"[]")).decode()])
def test_text_that_is_no_log_is_refused(text: Any) -> None:
    """Damaged storage gives our error, not a stray one."""
    with pytest.raises(EvidenceError):
        read(text)


def test_a_text_that_inflates_without_end_is_refused() -> None:
    """A small text must not fill the memory."""
    bomb = base64.b64encode(zlib.compress(b" " * (33 * 1024 * 1024), 9)).decode()
    with pytest.raises(EvidenceError, match="cut off or unpacks"):
        read(bomb)


def test_a_long_log_stays_within_its_limit_and_still_replays() -> None:
    """Older ticks are folded into a state; the answer is the same, and the log can go on."""
    log, answer = _record(600, limit=12_000)
    text = log.pack()
    assert len(text) <= 12_000
    assert read(text).base is not None
    assert replay(text) == answer
    more = EvidenceLog.unpack(text, limit=12_000)
    assert more.last_index == 5599
    assert more.judge().state == log.judge().state


def test_a_limit_that_cannot_hold_anything_is_named() -> None:
    """No silent loss of evidence."""
    log, _ = _record(30, limit=100)
    with pytest.raises(EvidenceError, match="limit of 100 bytes"):
        log.pack()


def test_an_empty_log_has_no_answer() -> None:
    """There is nothing to replay before the first tick."""
    with pytest.raises(EvidenceError, match="no tick"):
        replay(EvidenceLog(config()).pack())
