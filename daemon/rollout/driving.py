"""Steps that people or a pipeline drive: the next one now, a named one, or another weight within the present one.

What is skipped is the time and the proof of a step, never its capacity, its order or the way back; and the last step still needs a
proof, or a person's `promote`.
"""

from daemon.rollout import progress, ramp, sentence
from daemon.rollout.clock import stamp
from daemon.rollout.model import Command
from daemon.rollout.turn import Turn


def refusal(turn: Turn, command: Command) -> str:
    """Why a step cannot be driven so; empty where it can."""
    steps, now = turn.plan.steps, turn.rollout.step
    if command.verb == "set-weight":
        return _weight_refusal(turn, command)
    if command.verb == "skip":
        if command.step and command.step not in (turn.step.name, str(now + 1)):
            return f"it was said for step {command.step}, and the step at hand is {turn.step.name}"
        return f"{turn.step.name} is the last step; linnet promote {turn.name} is what comes after it" if now >= len(steps) - 1 else ""
    target = _index(turn, command.step)
    if target is None:
        return f"there is no step {command.step!r}; the steps are {', '.join(s.name for s in steps)}"
    if target <= now:
        return f"step {steps[target].name} is not ahead of {turn.step.name}; to go back: linnet abort {turn.name}"
    return ""


def _weight_refusal(turn: Turn, command: Command) -> str:
    if command.weight is None or not 0 <= command.weight <= 100:
        return "the weight must be a whole number from 0 to 100"
    if turn.step.pick is not None:
        return f"step {turn.step.name} is about {turn.step.pick.words}; linnet skip {turn.name} goes on to what comes after it"
    if ramp.ramped(turn):
        return "the evidence moves the weight in this release; use ramp: Steps to drive it"
    if turn.plan.blue_green:
        return "blue-green switches all requests at once; use strategy type Canary to drive weights"
    if not turn.seen.routes and not turn.seen.pod_ratio:
        return "this release moves no traffic"
    return ""


def _index(turn: Turn, name: str) -> int | None:
    steps = turn.plan.steps
    named = next((s.index for s in steps if s.name == name), None)
    if named is None and name.isascii() and name.isdecimal() and 1 <= int(name) <= len(steps):
        return int(name) - 1
    return named


def skip(turn: Turn, command: Command) -> None:
    _jump(turn, turn.rollout.step + 1, command)


def go_to(turn: Turn, command: Command) -> None:
    target = _index(turn, command.step)
    if target is not None:
        _jump(turn, target, command)


def _jump(turn: Turn, target: int, command: Command) -> None:
    left = turn.step.name
    if turn.status.phase == "Paused":
        progress.resume(turn)
    turn.roll(step=target - 1)
    progress.advance(turn)
    turn.tell("Resumed", f"{sentence.subject(turn)}: from step {left} to {turn.step.name} by {command.by or 'a person'}")


def set_weight(turn: Turn, command: Command) -> None:
    """Holds within the present step; the next one brings its own."""
    turn.roll(weight_set=command.weight, exposed_at=None, stage_started_at=stamp(turn.now), told=False)
    turn.tell(
        "Resumed", f"{sentence.subject(turn)}: {command.weight} % of traffic by {command.by or 'a person'}, within step {turn.step.name}"
    )
