"""All mutants, by the package that they break."""

from __future__ import annotations

from tests.mutants import (
    aligned,
    analyzers,
    control,
    edges,
    group,
    judge,
    judge_data,
    kube,
    line,
    observing,
    picks,
    ramp,
    rollout,
    walk,
    webhook,
)
from tests.mutants.model import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *rollout.MUTANTS,
    *analyzers.MUTANTS,
    *judge.MUTANTS,
    *judge_data.MUTANTS,
    *kube.MUTANTS,
    *edges.MUTANTS,
    *control.MUTANTS,
    *ramp.MUTANTS,
    *line.MUTANTS,
    *group.MUTANTS,
    *picks.MUTANTS,
    *aligned.MUTANTS,
    *webhook.MUTANTS,
    *observing.MUTANTS,
    *walk.MUTANTS,
)
