"""Which reader takes which object; one line for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.cli.importing import argo, argo_notifications, argo_templates, flagger, flagger_shared, rules
from daemon.cli.importing.draft import Draft
from daemon.cli.importing.ledger import Ledger, Note, Rule
from daemon.cli.importing.peers import Peers

Reader = Callable[[Ledger, Peers], Iterator[Draft]]


def _nothing(_: Ledger, __: Peers) -> Iterator[Draft]:
    """What is told apart by its rules alone."""
    yield from ()


READERS: Final[Mapping[tuple[str, str], tuple[Reader, Sequence[Rule]]]] = {
    ("flagger.app", "Canary"): (flagger.convert, rules.FLAGGER_CANARY),
    ("flagger.app", "MetricTemplate"): (flagger_shared.metric_template, rules.METRIC_TEMPLATE),
    ("flagger.app", "AlertProvider"): (flagger_shared.alert_provider, rules.ALERT_PROVIDER),
    ("argoproj.io", "Rollout"): (argo.convert, rules.ROLLOUT),
    ("argoproj.io", "AnalysisTemplate"): (argo_templates.convert, rules.TEMPLATE),
    ("argoproj.io", "ClusterAnalysisTemplate"): (argo_templates.convert, rules.TEMPLATE),
    ("argoproj.io", "Experiment"): (_nothing, rules.EXPERIMENT),
    ("argoproj.io", "AnalysisRun"): (_nothing, rules.ANALYSIS_RUN),
    ("v1", "ConfigMap"): (argo_notifications.convert, ()),
}


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written, and what became of each field that was read."""

    objects: list[dict[str, Any]]
    notes: list[Note]
    read: list[str]


def reader_of(body: Mapping[str, Any]) -> tuple[Reader, Sequence[Rule]] | None:
    """The reader of an object; None for one that is none of Flagger's or Argo Rollouts'."""
    if body.get("kind") == "ConfigMap" and (body.get("metadata") or {}).get("name") != argo_notifications.NAME:
        return None
    return READERS.get((str(body.get("apiVersion", "")).partition("/")[0], str(body.get("kind", ""))))


def convert(bodies: Iterable[dict[str, Any]]) -> Imported:
    """All objects that are known, read together: a Canary needs to know the templates that it names."""
    everything = list(bodies)
    peers = Peers(everything)
    objects: list[dict[str, Any]] = []
    notes: list[Note] = []
    read: list[str] = []
    for body in everything:
        found = reader_of(body)
        if found is None:
            continue
        reader, special = found
        ledger = Ledger(body, (*special, *rules.COMMON))
        read.append(ledger.label)
        objects += [draft.body for draft in list(reader(ledger, peers)) if not draft.ours or draft.settle()]
        notes += ledger.notes()
    return Imported(objects=objects, notes=notes, read=read)
