"""The stored evidence of a verdict, and its replay: whole-number increments, weights and flags, never floats of a state.

The log lives in an object of the cluster, so it is compressed and bounded: when it grows too long, its older half is
folded into a state of the judge and the newer half stays as it came. A digest over all entries in their order makes a
permuted, shortened or edited log something that is refused rather than believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from analyzers.errors import AnalysisError, EvidenceError
from analyzers.judge import Judge, JudgeState
from analyzers.options import JudgeConfig
from analyzers.ticks import Answer, Assignment, BucketCounts, GaugeValues, MetricCounts, Problem, SplitCounts, Tick

LOG_VERSION: Final = 2
DEFAULT_LIMIT: Final = 128 * 1024
UNPACKED_LIMIT: Final = 32 * 1024 * 1024
"""A small text can inflate to anything; what does not fit here was not written by this code."""
_TICKS: Final = 4


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One tick, as short as it can be written, and the dispersions that were in force in it."""

    index: int
    weight: float
    flags: int
    arms: dict[str, MetricCounts]
    problems: tuple[Problem, ...]
    phi: tuple[float, ...]
    buckets: dict[str, BucketCounts] = msgspec.field(default_factory=dict)
    gauges: dict[str, GaugeValues] = msgspec.field(default_factory=dict)
    split: SplitCounts | None = None
    units: tuple[int, int] | None = None
    assignment: Assignment = Assignment.RANDOM


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to give the verdict again: the options (margins, alpha, beta), the ticks, and where they start."""

    version: int = LOG_VERSION
    config: JudgeConfig
    base: JudgeState | None = None
    entries: tuple[Entry, ...] = ()
    digest: str = ""


class EvidenceLog:
    """Grows with each tick the judge was fed; `pack` is what is stored."""

    def __init__(self, config: JudgeConfig, *, limit: int = DEFAULT_LIMIT) -> None:
        self._config, self._limit = config, limit
        self._base: JudgeState | None = None
        self._entries: list[Entry] = []

    @classmethod
    def unpack(cls, text: str, *, limit: int = DEFAULT_LIMIT) -> EvidenceLog:
        """Go on with a stored log after a restart."""
        stored = read(text)
        log = cls(stored.config, limit=limit)
        log._base, log._entries = stored.base, list(stored.entries)
        return log

    @property
    def last_index(self) -> int | None:
        if self._entries:
            return self._entries[-1].index
        return self._base.last_index if self._base else None

    @property
    def ticks(self) -> int:
        """How many ticks the log holds one by one; older ones live on in the state it starts from."""
        return len(self._entries)

    def append(self, tick: Tick, answer: Answer) -> None:
        """Record a tick and what the judge made of it."""
        flags = int(tick.warm) | int(tick.settled) << 1
        phi = tuple(m.phi for m in answer.metrics)
        self._entries.append(
            Entry(
                tick.index, tick.weight, flags, tick.arms, tick.problems, phi,
                tick.buckets, tick.gauges, tick.split, tick.units, tick.assignment,
            )
        )  # fmt: skip

    def pack(self) -> str:
        """Text for a status or annotation, never longer than the limit."""
        while True:
            text = write(self.stored())
            if len(text) <= self._limit:
                return text
            self._fold()

    def judge(self) -> Judge:
        """A judge in the state that this log leads to."""
        return _run(self.stored())[0]

    def stored(self) -> Log:
        """All of it, as it would be read back."""
        return Log(
            config=self._config, base=self._base, entries=tuple(self._entries), digest=_digest(self._config, self._base, self._entries)
        )

    def _fold(self) -> None:
        if len(self._entries) <= _TICKS:
            raise EvidenceError(
                f"the evidence limit of {self._limit} bytes is too small for {len(self._entries)} ticks and one state: raise it"
            )
        half = len(self._entries) // 2
        judge, _ = _run(msgspec.structs.replace(self.stored(), entries=tuple(self._entries[:half])))
        self._base, self._entries = judge.state, self._entries[half:]


class Trial:
    """One release on trial: the judge, and the log of all that it was given.

    The daemon, the bench and every replay judge through this one class, and the judge is made in this one module.
    """

    def __init__(self, log: EvidenceLog) -> None:
        self.log = log
        self._judge, self.answer = _run(log.stored())
        """`answer` is the last one; None before the first tick."""

    @classmethod
    def begin(cls, config: JudgeConfig) -> Trial:
        return cls(EvidenceLog(config))

    @classmethod
    def resume(cls, text: str) -> Trial:
        """Goes on where the stored log ends: by judging its ticks again."""
        return cls(EvidenceLog.unpack(text))

    @property
    def config(self) -> JudgeConfig:
        return self._judge.config

    def tick(self, tick: Tick) -> Answer:
        self.answer = self._judge.tick(tick)
        self.log.append(tick, self.answer)
        return self.answer


def write(log: Log) -> str:
    return base64.b64encode(zlib.compress(msgspec.json.encode(log), 9)).decode()


def read(text: str) -> Log:
    """Unpack and check; anything that was not written by `write` in this form is refused."""
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), UNPACKED_LIMIT)
        if not inflate.eof:
            raise EvidenceError(f"the evidence log is cut off or unpacks to more than {UNPACKED_LIMIT} bytes")
        log = msgspec.json.decode(data, type=Log)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise EvidenceError(f"the evidence log cannot be read: {error}") from error
    if log.version != LOG_VERSION:
        raise EvidenceError(f"the evidence log has version {log.version}, this build reads {LOG_VERSION}")
    indices = [e.index for e in log.entries]
    if any(b <= a for a, b in itertools.pairwise(indices)):
        raise EvidenceError("the ticks of the evidence log are not in order: it was permuted or edited")
    if log.digest != _digest(log.config, log.base, log.entries):
        raise EvidenceError("the evidence log does not match its digest: it was permuted, shortened or edited")
    return log


def replay(log: Log | str) -> Answer:
    """The judge's last answer, from the stored counts alone."""
    stored = read(log) if isinstance(log, str) else log
    _, answer = _run(stored)
    if answer is None:
        raise EvidenceError("the evidence log holds no tick: there is no answer to replay")
    return answer


def walk(log: Log) -> Iterator[tuple[Tick, Answer, Judge]]:
    """Every tick of a log with the judge's answer, and the judge as it is then. The digest is not looked at: `read` has done that,
    and what would have come of other counts may be asked as well.
    """
    judge = Judge(log.config, log.base)
    try:
        for entry in log.entries:
            tick = _tick(entry, log.config)
            yield tick, judge.tick(tick), judge
    except AnalysisError as error:
        raise EvidenceError(f"the evidence log cannot be replayed: {error}") from error


def _run(log: Log) -> tuple[Judge, Answer | None]:
    judge, answer = Judge(log.config, log.base), None
    for _, answer, judge in walk(log):  # noqa: B007 - the last ones are wanted
        pass
    return judge, answer


def _tick(entry: Entry, config: JudgeConfig) -> Tick:
    return Tick(
        index=entry.index,
        at=entry.index * config.scrape_seconds,
        weight=entry.weight,
        arms=entry.arms,
        warm=bool(entry.flags & 1),
        settled=bool(entry.flags & 2),
        problems=entry.problems,
        buckets=entry.buckets,
        gauges=entry.gauges,
        split=entry.split,
        units=entry.units,
        assignment=entry.assignment,
    )


def _digest(config: JudgeConfig, base: JudgeState | None, entries: list[Entry] | tuple[Entry, ...]) -> str:
    chain = hashlib.blake2b(msgspec.json.encode((config, base)), digest_size=16)
    for entry in entries:
        chain.update(msgspec.json.encode(entry))
    return chain.hexdigest()
