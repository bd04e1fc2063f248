"""`mode: Observe`: an ordinary rolling update is watched, its old pods are compared with its new ones, and what would have been done is said.

Nothing is written but the status: this module has no action of its own. Where Linnet was let do more before, what is left of that is given
back first, exactly as when the Canary is deleted. One revision is watched at a time, and the first word on it is final, because a release
of Linnet's would have ended there.
"""

from typing import Final, Literal

import msgspec

from daemon.api.status import ArmStatus, ExposureStatus, HistoryEntry, ObservedStatus, RolloutStatus, VerdictStatus
from daemon.rollout import leaving, report, sentence
from daemon.rollout.clock import epoch, span, stamp
from daemon.rollout.model import Problem, ReplicaSetView
from daemon.rollout.rollback import HISTORY
from daemon.rollout.turn import Turn

Outcome = Literal["WouldRollBack", "WouldPromote", "WouldAsk", "TooShort", "NoData", "Superseded", "TakenBack"]

BOTH: Final = 50  # percent, told to the judge while both versions serve: a roll has no other share, and its pods come and go
ALONE: Final = 100
AFTERMATH: Final = 30  # looks after the last old pod in which the time before may still be compared with
CHANGED: Final = 6  # looks in which the judge believes nothing, because the share has just become another
SILENT: Final = ("NoData", "ProviderError")
RESULTS: Final[dict[str, Literal["Pass", "Fail", "Inconclusive", "NoData"]]] = {
    "WouldRollBack": "Fail",
    "WouldPromote": "Pass",
    "WouldAsk": "Inconclusive",
    "TooShort": "Inconclusive",
    "NoData": "NoData",
}
WORDS: Final = {
    "WouldRollBack": "Would roll back",
    "WouldPromote": "Would promote",
    "WouldAsk": "Would ask",
    "TooShort": "Too short to tell",
    "NoData": "No data",
}


def watch(turn: Turn) -> None:
    """One pass over a Canary that only observes."""
    if turn.seen.guarded or turn.seen.deleting:
        _give_back(turn)
        return
    _refuse_verbs(turn)
    turn.enter("Observing")
    if turn.status.rollout is not None and (turn.rollout.observed is None or turn.seen.workload is None):
        turn.set(rollout=None)
    if turn.status.rollout is not None:
        _compare(turn, turn.rollout, turn.rollout.observed or ObservedStatus(baseline=""))
    elif not _refused(turn):
        _at_rest(turn)
    _report(turn)


def _give_back(turn: Turn) -> None:
    """What was done while it was enforced: hold, canary Service, marks and finalizer go, the Deployment ends on what was judged fine."""
    if turn.status.rollout is not None and turn.rollout.observed is not None:
        turn.set(rollout=None)
    leaving.deleting(turn)


def _refuse_verbs(turn: Turn) -> None:
    command = turn.seen.command
    if command is None or command.raw == turn.status.last_action:
        return
    turn.set(last_action=command.raw[:128])
    text = f"{command.verb} of {command.revision} does nothing: {turn.name} is only observed (spec.mode: Observe)"
    turn.tell("CommandRefused", f"{text}; kubectl rollout undo takes an update back", warning=True)


def _refused(turn: Turn) -> bool:
    """Why nothing can be watched; said once as news."""
    problems = turn.seen.problems
    if turn.seen.workload is None:
        missing = Problem(reason="WorkloadMissing", message="its Deployment does not exist", way_out="create it, or delete this Canary")
        problems = problems or (missing,)
    if not problems:
        return False
    message = "; ".join(p.message for p in problems)
    fresh = turn.status.waiting is None or turn.status.waiting.message != message[:1000]
    turn.wait(problems[0].reason, message, way_out=problems[0].way_out)
    if fresh:
        turn.tell("Refused", f"{message}. {problems[0].way_out}", warning=True)
    return True


def _at_rest(turn: Turn) -> None:
    """Until another template than those known has pods."""
    workload, stable = turn.workload, turn.status.stable_revision
    now = workload.revision
    others = [s for s in workload.active if s.revision != now]
    mine = [s for s in workload.active if s.revision == now]
    if stable is None and not others:
        if workload.complete and mine:
            turn.set(stable_revision=now, observed_revision=now)
            turn.tell("Observing", f"{turn.name}: {now} serves; the next rolling update is watched, and nothing is changed")
        else:
            turn.wait("NothingServes", "no version serves yet that an update could be compared with", way_out="scale the Deployment up")
    elif now == stable:
        _taken_back(turn)
    elif now != turn.status.observed_revision and mine:
        _begin(turn, mine, others)


def _taken_back(turn: Turn) -> None:
    """Its people went back to what serves well: noted with the update that they took back, which is watched anew if it comes again."""
    if turn.status.observed_revision == turn.status.stable_revision:
        return
    history = list(turn.status.history)
    if history and history[0].revision == turn.status.observed_revision and history[0].outcome == "WouldRollBack":
        after = span(turn.elapsed(history[0].ended_at))
        history[0] = msgspec.structs.replace(history[0], sentence=f"{history[0].sentence} Taken back by its people after {after} more.")
    turn.set(observed_revision=turn.status.stable_revision, history=history)


def _begin(turn: Turn, mine: list[ReplicaSetView], others: list[ReplicaSetView]) -> None:
    """The version before is the one that serves most: with several, stable."""
    now, stable = turn.workload.revision, turn.status.stable_revision
    best = max(others, key=lambda s: (s.revision == stable, s.available), default=None)
    baseline = (best.revision if best is not None else stable) or "unknown"
    observed = ObservedStatus(baseline=baseline, old=[s.name for s in others if s.revision == baseline], new=[s.name for s in mine])
    started = stamp(turn.now)
    turn.set(
        rollout=RolloutStatus(
            revision=now, started_at=started, deadline_at=stamp(turn.now + turn.plan.deadline), spec=turn.spec, observed=observed
        ),
        stable_revision=baseline,
        observed_revision=now,
        sentence="",
        verdict=None,
        metrics=[],
    )
    turn.tell("Observing", f"{turn.name} {now} rolls out beside {baseline}: it is watched, and nothing is changed")
    turn.look_at(turn.now)


def _compare(turn: Turn, rollout: RolloutStatus, observed: ObservedStatus) -> None:
    """While it rolls, and for a few minutes after."""
    if observed.outcome is not None:
        _close(turn, observed.outcome)
        return
    workload = turn.workload
    if workload.revision != rollout.revision:
        back = workload.revision == observed.baseline
        turn.set(sentence=sentence.cut_off(turn, taken_back=back))
        _close(turn, "TakenBack" if back else "Superseded")
        return
    _follow_pods(turn, observed)
    judge, canary = turn.seen.judge, turn.canary
    if canary is not None and canary.fatal:
        _say(turn, "WouldRollBack", sentence.would_roll_back(turn, canary.failing))
    elif judge is not None and judge.action == "Rollback":
        _say(turn, "WouldRollBack", sentence.would_roll_back(turn))
    elif judge is not None and judge.action == "Promote":
        _say(turn, "WouldPromote", sentence.would_promote(turn))
    elif (judge is not None and judge.action == "Inconclusive") or turn.now >= epoch(rollout.deadline_at or rollout.started_at):
        _say(turn, "WouldAsk", sentence.would_ask(turn))
    elif _over(turn):
        missing = judge is None or judge.code in SILENT
        _say(turn, "NoData" if missing else "TooShort", sentence.too_short(turn))
    else:
        what = (
            "old pods and new ones are compared"
            if turn.rollout.observed and not turn.rollout.observed.alone_since
            else ("the new pods are compared with the time before")
        )
        words = f": {judge.text}" if judge is not None and judge.text else ""
        turn.wait("Watching", f"{what}{words}", until=epoch(rollout.deadline_at or rollout.started_at), way_out="none is needed")


def _follow_pods(turn: Turn, observed: ObservedStatus) -> None:
    """Which ReplicaSets are which, since when the new pods serve, and since when they serve alone."""
    rollout, active = turn.rollout, turn.workload.active
    mine = [s for s in active if s.revision == rollout.revision]
    theirs = [s for s in active if s.revision == observed.baseline]
    new = list(dict.fromkeys([*observed.new, *(s.name for s in mine)]))[-8:]
    old = list(dict.fromkeys([*observed.old, *(s.name for s in theirs)]))[-8:]
    alone = observed.alone_since
    exposures = list(rollout.exposures)
    if not exposures and any(s.available for s in mine):
        exposures.append(ExposureStatus(since=stamp(turn.now), weight=BOTH, settled=True))
    if exposures and alone is None and not theirs and turn.workload.complete:
        alone = stamp(turn.now)
        exposures.append(ExposureStatus(since=alone, weight=ALONE, settled=True))
    turn.roll(
        exposures=exposures,
        judge_from=rollout.judge_from or (exposures[0].since if exposures else None),
        observed=msgspec.structs.replace(observed, new=new, old=old, alone_since=alone),
    )


def _over(turn: Turn) -> bool:
    """The version before is gone, and there is nothing more to compare with."""
    observed, judge = turn.rollout.observed, turn.seen.judge
    if observed is None or observed.alone_since is None:
        return False
    alone = turn.elapsed(observed.alone_since)
    turn.look_at(turn.now + turn.plan.interval)
    if judge is not None and judge.code == "NoControl" and alone >= CHANGED * turn.plan.interval:
        return True
    return alone >= AFTERMATH * turn.plan.interval


def _say(turn: Turn, outcome: Outcome, text: str) -> None:
    """The last word on this revision. It is closed in the next pass, so that its evidence is stored with the word."""
    rollout = turn.rollout
    at = stamp(turn.now)
    observed = msgspec.structs.replace(rollout.observed or ObservedStatus(baseline=""), outcome=outcome, said_at=at)
    turn.roll(observed=observed)
    turn.set(
        sentence=text[:2000],
        verdict=VerdictStatus(result=RESULTS[outcome], revision=rollout.revision, reason=outcome, sentence=text[:2000], at=at),
    )
    turn.tell("Observed", text, warning=outcome == "WouldRollBack")


def _close(turn: Turn, outcome: str) -> None:
    """One line of history. What would have been rolled back is not what an update is measured against, if its people go back."""
    rollout = turn.rollout
    entry = HistoryEntry(
        revision=rollout.revision,
        outcome=outcome,
        sentence=turn.status.sentence,
        started_at=rollout.started_at,
        ended_at=stamp(turn.now),
    )
    kept = outcome in ("WouldRollBack", "TakenBack", "Superseded")
    turn.set(
        rollout=None,
        history=[entry, *turn.status.history][:HISTORY],
        stable_revision=turn.status.stable_revision if kept else rollout.revision,
    )


def _report(turn: Turn) -> None:
    """The lists that people read, in the words of a roll."""
    workload, canary, verdict = turn.seen.workload, turn.seen.canary, turn.status.verdict
    arms, share = [], None
    if workload is not None and turn.status.rollout is not None and canary is not None:
        old = max(0, workload.available - canary.available)
        share = 100 * canary.available // max(1, workload.available)
        arms = [
            ArmStatus(name="stable", revision=turn.status.stable_revision, replicas=old, available=old, weight=100 - share),
            ArmStatus(name="canary", revision=canary.revision, replicas=canary.replicas, available=canary.available, weight=share),
        ]
    turn.set(
        arms=arms,
        routes=[],
        flags=[],
        weight=share,
        step=None,
        flags_text=None,
        verdict_text=WORDS.get(verdict.reason) if verdict is not None else None,
        observed_generation=turn.seen.generation,
    )
    report.list_metrics(turn)


def end(turn: Turn) -> None:
    """Handler of phase Observing once the mode is Enforce: begins as if Linnet had never looked; the history stays."""
    turn.set(stable_revision=None, observed_revision=None, verdict=None, sentence="", metrics=[], rollout=None)
    turn.enter("Pending")
