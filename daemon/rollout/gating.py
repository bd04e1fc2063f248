"""Gates: what must agree before a release goes on, and what it means where nobody does.

The core says in the status which gates it waits for; the shell asks them, and their answers come back as permits. An answer is put on
record, so that a gate that was opened stays open whatever becomes of its receiver. Harm ends an exposure while a gate is waited for, and the
time is not the judge's.
"""

from typing import Final

import msgspec

from daemon.api.gates import GatePoint
from daemon.api.status import GateStatus
from daemon.rollout import rollback, sentence
from daemon.rollout.clock import epoch, stamp
from daemon.rollout.model import Permit
from daemon.rollout.steps import GatePlan
from daemon.rollout.turn import Turn

SOURCE: Final = "Gate"
KEPT: Final = 64


def opened(turn: Turn, at: GatePoint) -> bool:
    """Whether every gate of this point is open; else the first that is not is waited for."""
    return all(_open(turn, gate, _key(turn, gate)) for gate in turn.plan.gates if gate.at == at)


def step_opened(turn: Turn) -> bool:
    """Whether the present step has no gate, or an open one."""
    gate = turn.step.gate
    return gate is None or _open(turn, gate, gate.name)


def _key(turn: Turn, gate: GatePlan) -> str:
    """A gate between steps is asked anew before each."""
    return f"{gate.name}/{turn.rollout.step}" if gate.at == "EachStep" else gate.name


def _open(turn: Turn, gate: GatePlan, key: str) -> bool:
    record = next((g for g in turn.rollout.gates if g.name == key), None)
    if record is not None and record.state != "Waiting":
        return True
    answer = next((p for p in turn.seen.permits if p.gate == key), None)
    if record is not None and answer is not None and answer.advance:
        _record(turn, msgspec.structs.replace(record, state="Open", at=stamp(turn.now), text=answer.why[:300]))
        turn.tell("Resumed", f"{sentence.subject(turn)}: gate {gate.name} is open{_clause(answer.why)}")
        return True
    if record is None:
        record = GateStatus(name=key, state="Waiting", since=stamp(turn.now))
        _record(turn, record)
        turn.tell("Paused", f"{sentence.subject(turn)}: gate {gate.name} is asked")
    return _waited(turn, gate, record, answer)


def _waited(turn: Turn, gate: GatePlan, record: GateStatus, answer: Permit | None) -> bool:
    """What is waited for, and the owner's answer where it was for too long."""
    what = f"gate {gate.name}: {answer.why if answer is not None and answer.why else 'it was asked, and has not answered yet'}"
    until = epoch(record.since) + gate.timeout
    way_out = f"linnet {'skip' if gate.at in ('Step', 'EachStep') and not turn.last_step else 'promote'}|abort {turn.name}"
    if turn.now < until:
        turn.wait(SOURCE, what, until=until, way_out=way_out)
        return False
    if gate.on_timeout == "Promote":
        _record(turn, msgspec.structs.replace(record, state="TimedOut", at=stamp(turn.now), text=what[:300]))
        turn.tell("Resumed", f"{sentence.subject(turn)}: {what}, for too long; it goes on by its owner's rule")
        return True
    if gate.on_timeout == "Wait":
        turn.wait("GateOverdue", f"{what}, for longer than its owner meant", way_out=way_out)
        return False
    rollback.begin(turn, "GateTimeout", f"{what}, for too long")
    return False


def _clause(text: str) -> str:
    return f": {text[:300]}" if text else ""


def _record(turn: Turn, record: GateStatus) -> None:
    others = [g for g in turn.rollout.gates if g.name != record.name]
    turn.roll(gates=[*others, record][-KEPT:])
    if record.state != "Waiting":
        turn.roll(stage_started_at=stamp(turn.now))  # pods, routes and flags have their own time from here
