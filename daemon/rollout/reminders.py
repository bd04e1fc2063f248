"""Flags that outlived their release: after `removeAfter` people are reminded to take them out of the code, once a day until they did.

A flag that everybody has is a branch that nobody tests the other side of. Linnet does not remove it: the code that asks for it may still
be out. What ends the reminder is the flag's leaving `spec.flags`, or a release that moves it again.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from daemon.api.status import CanaryStatus, FlagReminder
from daemon.rollout.clock import epoch, since, span, stamp
from daemon.rollout.steps import FlagPlan
from daemon.rollout.turn import Turn

DAILY: Final = 86_400.0


def promoted(turn: Turn) -> None:
    """The release is over: from now on its flags grow old. One that was put back as it was found was nobody's to remove."""
    moved = {f.name: f for f in turn.status.flags}
    asked = [p for p in turn.plan.flags if p.name in moved and p.remove_after is not None and p.on_promotion != "Remove"]
    fresh = [FlagReminder(name=p.name, key=moved[p.name].key, source=moved[p.name].source, promoted_at=stamp(turn.now)) for p in asked]
    kept = [r for r in turn.status.reminders if r.name not in moved]
    turn.set(reminders=[*kept, *fresh])


def remind(turn: Turn) -> None:
    """At rest: what is due is told, at most once a day; what is not wished any more is forgotten."""
    plans = {p.name: p for p in turn.plan.flags if p.remove_after is not None}
    known = [r for r in turn.status.reminders if r.name in plans]
    if turn.status.rollout is None:
        known = [_one(turn, reminder, plans[reminder.name]) for reminder in known]
    if known != turn.status.reminders:
        turn.set(reminders=known)


def _one(turn: Turn, reminder: FlagReminder, plan: FlagPlan) -> FlagReminder:
    due = epoch(reminder.promoted_at) + (plan.remove_after or 0.0)
    if turn.now < due:
        turn.look_at(due)
        return reminder
    if reminder.told_at is None or since(reminder.told_at, turn.now) >= DAILY:
        turn.tell("FlagDue", f"{turn.name}: {words(reminder, turn.now)}", warning=True)
        reminder = msgspec.structs.replace(reminder, told_at=stamp(turn.now))
    turn.look_at(epoch(reminder.told_at or stamp(turn.now)) + DAILY)
    return reminder


def words(reminder: FlagReminder, now: float) -> str:
    return (
        f"flag {reminder.key} of {reminder.source} was promoted {_age(since(reminder.promoted_at, now))} ago: take it out of the code, then out "
        "of spec.flags"
    )


def due(status: CanaryStatus, now: float) -> str:
    """What the condition says; empty while nothing is due."""
    return "; ".join(words(r, now) for r in _told(status.reminders))


def _told(reminders: Iterable[FlagReminder]) -> Iterable[FlagReminder]:
    return (r for r in reminders if r.told_at is not None)


def _age(seconds: float) -> str:
    days = int(seconds // DAILY)
    return f"{days} days" if days > 1 else span(seconds)
