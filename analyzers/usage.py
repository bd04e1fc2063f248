"""How much a service is used before anything is judged: requests a second, and the share of them that fails.

Figures for the outlook and the planner, not evidence: no grid, no arms, only what the counters grew by while they were looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from analyzers.series import RawSeries, Sample


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in `seconds`."""

    requests: float
    errors: float
    seconds: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def error_ratio(self) -> float:
        """0 where nothing was counted."""
        return min(1.0, self.errors / self.requests) if self.requests > 0 else 0.0


def usage(totals: Iterable[RawSeries], errors: Iterable[RawSeries] = ()) -> Usage | None:
    """From raw counters of the same processes; None where they were looked at only once, so that nothing could grow."""
    kept = [s for s in totals if s.samples]
    if not kept:
        return None
    begin = min(s.samples[0].at for s in kept)
    end = max(s.samples[-1].at for s in kept)
    if end <= begin:
        return None
    return Usage(requests=sum(_grown(s, begin) for s in kept), errors=sum(_grown(s, begin) for s in errors), seconds=end - begin)


def _grown(series: RawSeries, begin: float) -> float:
    """By how much one counter grew; a fall is a new beginning at zero, as is a process that started since `begin`."""
    grown, last = 0.0, None
    for sample in series.samples:
        if last is None:
            young = series.started_at is not None and series.started_at >= begin
            grown += sample.value if young else 0.0
        else:
            grown += sample.value - last if sample.value >= last else sample.value
        last = sample.value
    return grown


class Looks:
    """Joins what was read of a source without a past: each look brings one sample, and `window` seconds of them are kept."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], RawSeries] = {}

    def join(self, name: str, series: Iterable[RawSeries]) -> tuple[RawSeries, ...]:
        """What is known of `name` after this look; a counter that this look did not see ended."""
        joined = {}
        for one in series:
            key = (name, tuple(sorted(one.labels.items())))
            before = self._series.get(key)
            joined[key] = one if before is None else msgspec.structs.replace(one, samples=self._recent(before.samples + one.samples))
        self._series = {k: s for k, s in self._series.items() if k[0] != name} | joined
        return tuple(joined.values())

    def _recent(self, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(s for s in samples if s.at >= samples[-1].at - self._window)
