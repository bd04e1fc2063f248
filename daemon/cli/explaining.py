"""An `AnalysisRun` in words, as JSON, as a picture and as a page: made for someone who was woken by it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

import msgspec

from analyzers.account import Account, account, duration, lines
from analyzers.errors import EvidenceError
from analyzers.evidence import read
from analyzers.otherwise import otherwise
from analyzers.plots.figure import picture
from analyzers.plots.png import png
from analyzers.plots.shapes import Picture
from analyzers.plots.svg import svg
from analyzers.ticks import Verdict
from daemon.rollout.clock import stamp

if TYPE_CHECKING:
    from daemon.control.objects import AnalysisRun

WORDS: Final = {
    Verdict.PASS: "promoted: it was shown to be within every bound",
    Verdict.FAIL: "stopped: it was shown to be worse than tolerated",
    Verdict.INCONCLUSIVE: "undecided",
    Verdict.NO_DATA: "undecided for want of data",
    Verdict.PENDING: "not decided yet",
}
STYLE: Final = (
    "body{font:15px/1.5 ui-sans-serif,system-ui,sans-serif;color:#1f2933;max-width:1000px;margin:2em auto;padding:0 1em}"
    "svg{max-width:100%;height:auto}h1{font-size:1.3em}h2{font-size:1.05em;margin-top:1.6em}li{margin:.3em 0}"
)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`found` is None where templates alone judged."""

    run: Any
    found: Account | None
    changed: tuple[str, ...] = ()

    @classmethod
    def of(cls, item: AnalysisRun) -> Explanation:
        evidence = item.status.evidence
        if evidence is None or not evidence.data:
            if item.status.templates is None:
                raise EvidenceError(f"AnalysisRun {item.name} has no evidence: nothing was compared, and no template measured")
            return cls(run=item, found=None)
        log = read(evidence.data)
        found = account(log)
        return cls(run=item, found=found, changed=otherwise(log, found))

    @property
    def title(self) -> str:
        item: AnalysisRun = self.run
        return f"{item.namespace}/{item.spec.canary_ref.name} {item.spec.revision}"

    @property
    def sentence(self) -> str:
        item: AnalysisRun = self.run
        verdict = item.status.verdict
        if verdict is not None and verdict.sentence:
            return verdict.sentence
        return self.found.reason if self.found is not None else ""

    def sections(self) -> list[tuple[str, tuple[str, ...]]]:
        """(heading, lines), in the order of what one asks at night: what, why, how sure, and what if."""
        found = self.found
        sections: list[tuple[str, tuple[str, ...]]] = []
        if found is not None:
            sections += [("Decided", _decided(found)), ("What was compared", lines(found))]
            if found.histograms:
                sections.append(("Durations", tuple(f"{n}: {b.words}" for n, b in found.histograms.items())))
            if self.changed:
                sections.append(("What would have changed it", self.changed))
        templates = self._templates()
        return [*sections, ("Templates", templates)] if templates else sections

    def _templates(self) -> tuple[str, ...]:
        item: AnalysisRun = self.run
        runs = item.status.templates.runs if item.status.templates is not None else []
        return tuple(f"{r.template}: {r.phase}{', ' + r.message if r.message else ''}" for r in runs)

    def text(self) -> str:
        parts = [self.title, self.sentence]
        for heading, said in self.sections():
            parts += ["", heading, *(f"  {line}" for line in said)]
        return "\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        found = self.found
        item: AnalysisRun = self.run
        body: dict[str, Any] = {"run": item.name, "title": self.title, "sentence": self.sentence, "sections": dict(self.sections())}
        if found is not None:
            body |= {
                "verdict": found.verdict,
                "decidedBy": found.decided_by,
                "decidedAt": None if found.decided_at is None else stamp(found.decided_at),
                "metrics": msgspec.to_builtins(found.metrics),
                "buckets": msgspec.to_builtins(found.histograms),
            }
        return body

    def picture(self) -> Picture:
        if self.found is None:
            raise EvidenceError("templates alone judged this release: there are no counts to draw")
        return picture(self.found, self.title, self.sentence)

    def drawn(self, kind: str) -> bytes:
        """`kind`: svg, png or html."""
        if kind == "png":
            return png(self.picture())
        return (svg(self.picture()) if kind == "svg" else self.page()).encode()

    def page(self) -> str:
        """One file, nothing to load: it can be mailed, or put into a ticket."""
        blocks = [svg(self.picture())] if self.found is not None else [f"<p>{html.escape(self.sentence)}</p>"]
        for heading, said in self.sections():
            rows = "".join(f"<li>{html.escape(line)}</li>" for line in said)
            blocks.append(f"<h2>{html.escape(heading)}</h2><ul>{rows}</ul>")
        title = html.escape(self.title)
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        return f"{head}<h1>{title}</h1>{''.join(blocks)}</html>\n"


def _decided(found: Account) -> tuple[str, ...]:
    place = next((k for k, p in enumerate(found.points) if p.at == found.decided_at), len(found.points) - 1)
    point, first = found.points[place], next((p for p in found.points if p.weight > 0), found.points[0])
    said = [f"{WORDS[found.verdict]}, after {duration(point.at - first.at)} of exposure, at {point.weight:g} % of the traffic"]
    if found.decided_by:
        word = "the metric that decided" if found.verdict is Verdict.FAIL else "the last metric to be proven"
        said.append(f"{word if found.decided_at is not None else 'the metric that lacks most'}: {found.decided_by}")
    said.append(f"needed: {1 / found.needed_worse:.0f} : 1 to be stopped, {1 / found.needed_fine:.0f} : 1 in every metric to be promoted")
    if found.folded is not None:
        said.append("the oldest ticks were folded into a state to stay within the object's bound; pictures begin after them")
    return tuple(said)
