"""One template of one release: what it measured so far, and what the core is told of that."""

from typing import Any, Final

import msgspec

from analyzers.templates import run as rules
from analyzers.templates.metric import Measurement, Metric, Phase, Result, add, again
from daemon.api.analysis import AnalysisTemplateSpec, TemplateRun
from daemon.control.checks import CheckUse
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import CheckView

DECIDED: Final = frozenset({Phase.FAILED, Phase.INCONCLUSIVE})


class CheckRun:
    """One template of one release."""

    def __init__(self, use: CheckUse, spec: AnalysisTemplateSpec, metrics: tuple[Metric, ...]) -> None:
        self.use = use
        self.spec = spec
        self.metrics = metrics
        self.results = rules.fresh(metrics)
        self.started_at: float | None = None
        self.doing: dict[int, str] = {}  # metric -> what its measurement waits for

    def stored(self) -> TemplateRun:
        view = self.view()
        return TemplateRun(
            id=self.use.id,
            template=self.use.name,
            namespace=self.use.namespace,
            started_at=None if self.started_at is None else stamp(self.started_at),
            phase=view.phase,
            message=view.text,
            spec=msgspec.to_builtins(self.spec),
            results=msgspec.to_builtins(self.results),
        )

    def restore(self, stored: TemplateRun) -> None:
        results = tuple(msgspec.convert(r, Result) for r in stored.results)
        if [r.name for r in results] == [m.name for m in self.metrics]:
            self.results = results
            self.started_at = None if stored.started_at is None else epoch(stored.started_at)

    def record(self, index: int, found: Measurement) -> None:
        results = list(self.results)
        results[index] = add(self.metrics[index], results[index], found)
        self.doing.pop(index, None)
        self.results = tuple(results)
        if any(r.phase in DECIDED and not r.dry_run for r in self.results):
            self.results = rules.settle(self.metrics, self.results)

    def resume(self, index: int) -> None:
        """After errors: what was counted stays counted."""
        results = list(self.results)
        results[index] = again(results[index])
        self.results = tuple(results)

    def view(self) -> CheckView:
        """What the core is told."""
        use = self.use
        blank = CheckView(template=use.name, moment=use.moment, step=use.step)
        pairs = [(m, r) for m, r in zip(self.metrics, self.results, strict=True) if not m.dry_run]
        for phase in (Phase.FAILED, Phase.INCONCLUSIVE):
            for metric, result in pairs:
                if result.phase is phase:
                    told = "Failed" if phase is Phase.FAILED else "Inconclusive"
                    return msgspec.structs.replace(blank, phase=told, text=_text(metric, result))
        open_ = [(m, r) for m, r in pairs if not r.completed or r.phase is Phase.ERROR]
        for metric, result in open_:
            absent = _absent(result)
            if absent:
                return msgspec.structs.replace(blank, phase="Running", absent=absent, text=_text(metric, result))
        doing = [f"{self.metrics[i].name}: {text}" for i, text in sorted(self.doing.items())]
        text = "; ".join(doing or [rules.said(m, r) for m, r in pairs])[:900] or "only dry runs"
        if not open_:
            return msgspec.structs.replace(blank, phase="Successful", text=text)
        newest = [r.last for _, r in open_]
        good = [m.finished_at for m in newest if m is not None and m.phase is Phase.SUCCESSFUL]
        since = min(good) if len(good) == len(newest) else None
        begun = any(r.measurements for _, r in pairs)
        return msgspec.structs.replace(blank, phase="Running" if begun else "Pending", text=text, good_at=since)


def _text(metric: Metric, result: Result) -> str:
    return rules.said(metric, result)[:900]


def _absent(result: Result) -> Any:
    never = result.count == 0 and result.no_data == 0 and result.error > 0
    if result.phase is Phase.ERROR or never:
        return "ProviderError"
    return "NoData" if result.last is not None and result.last.phase is Phase.NO_DATA else ""
