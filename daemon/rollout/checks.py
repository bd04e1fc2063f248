"""Threshold templates beside the judge: they can stop a release, hold it, and under `judge: TemplatesOnly` let it go on.

What they measured is joined with the judge's view at the start of each pass, so that every other part asks one question: what
does the evidence say? A template that only once said something good is no proof of what came after: while it goes on, its newest
measurement must be good, and newer than the exposure of the step.
"""

from typing import Final

import msgspec

from daemon.rollout import rollback
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import CheckView, JudgeView
from daemon.rollout.turn import Turn

FAILED: Final = "CheckFailed"
INCONCLUSIVE: Final = "CheckInconclusive"
PENDING: Final = "Checking"


def judged(turn: Turn) -> JudgeView | None:
    """The judge's view, with what the templates add to it."""
    judge, rollout = turn.seen.judge, turn.status.rollout
    if rollout is None or (turn.plan.statistical and not turn.seen.checks and not turn.plan.background):
        return judge
    current = [c for c in turn.seen.checks if c.moment != "Step" or c.step == rollout.step]
    said = "; ".join(_clause(c) for c in current if c.text and c.moment != "BeforeFirstStep")
    base = msgspec.structs.replace(judge or JudgeView(action="Hold"), checks=said)
    bad = next((c for c in current if c.phase == "Failed"), None)
    if bad is not None:
        return msgspec.structs.replace(base, action="Rollback", code=FAILED, text=_clause(bad))
    if base.action == "Rollback":
        return base
    unclear = next((c for c in current if c.phase == "Inconclusive"), None)
    if unclear is not None:
        return msgspec.structs.replace(base, action="Inconclusive", code=INCONCLUSIVE, text=_clause(unclear))
    return _let_on(turn, base, [c for c in current if c.moment == "Background"])


def _let_on(turn: Turn, base: JudgeView, views: list[CheckView]) -> JudgeView:
    """Nothing speaks against it: may it go on?"""
    absent = next((c for c in views if c.absent), None)
    if absent is not None:
        return msgspec.structs.replace(base, action="Hold", climbs=False, code=absent.absent, text=_clause(absent))
    missing = next((name for name in turn.plan.background if name not in [c.template for c in views]), None)
    if missing is not None:
        return msgspec.structs.replace(base, action="Hold", climbs=False, code=PENDING, text=f"template {missing} was not measured yet")
    pending = next((c for c in views if not _good(turn, c)), None)
    if pending is not None:
        return msgspec.structs.replace(base, action="Hold", climbs=False, code=PENDING, text=_clause(pending))
    if turn.plan.statistical:
        return base
    return msgspec.structs.replace(base, action="Promote", code="Proven", text=base.checks or "every template is met")


def _good(turn: Turn, check: CheckView) -> bool:
    if check.phase == "Successful":
        return True
    exposed = turn.rollout.exposed_at
    return check.phase == "Running" and check.good_at is not None and exposed is not None and check.good_at >= epoch(exposed)


def _clause(check: CheckView) -> str:
    return f"template {check.template}: {check.text or 'not measured yet'}"[:900]


def undecided(turn: Turn) -> bool:
    """Whether a template ended inconclusive while the release is exposed."""
    return turn.seen.judge is not None and turn.seen.judge.action == "Inconclusive"


def passed_before(turn: Turn) -> bool:
    """Whether the templates before the first step are met; they are measured from the moment the canary's pods are there."""
    if not turn.plan.before:
        return True
    if turn.rollout.checks_from is None:
        turn.roll(checks_from=stamp(turn.now))
    views = {c.template: c for c in turn.seen.checks if c.moment == "BeforeFirstStep"}
    pending = [views.get(name) or CheckView(template=name, moment="BeforeFirstStep") for name in turn.plan.before]
    pending = [c for c in pending if c.phase != "Successful"]
    if not pending:
        return True
    until = epoch(turn.rollout.checks_from or stamp(turn.now)) + turn.plan.deadline
    turn.wait(PENDING, _clause(pending[0]), until=until, way_out=f"linnet promote|abort {turn.name}")
    if turn.now >= until:
        rollback.begin(turn, "CheckTimeout", f"{_clause(pending[0])}, for too long")
    return False


def step_passed(turn: Turn) -> bool:
    """Whether the template of the present step, if it has one, is met."""
    return not turn.step.check or any(c.phase == "Successful" for c in _of_step(turn))


def _of_step(turn: Turn) -> list[CheckView]:
    return [c for c in turn.seen.checks if c.moment == "Step" and c.step == turn.step.index]


def wait(turn: Turn, until: float | None) -> None:
    """Says what the template of the present step waits for."""
    found = next(iter(_of_step(turn)), None) or CheckView(template=turn.step.check, moment="Step")
    turn.wait(PENDING, _clause(found), until=until, way_out=f"linnet promote|abort {turn.name}")


def wait_quietly(turn: Turn) -> None:
    """Before anybody is exposed the judge's time has not begun: the template of such a step has as long for itself."""
    until = epoch(turn.rollout.exposed_at or stamp(turn.now)) + turn.plan.deadline
    wait(turn, until)
    if turn.now >= until:
        rollback.begin(turn, "CheckTimeout", f"step {turn.step.name}: template {turn.step.check} was not met, for too long")
