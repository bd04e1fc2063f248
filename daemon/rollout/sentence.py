"""The one sentence that every verdict, message, condition and page shows: built here and nowhere else, from numbers."""

from math import exp
from typing import Final

from daemon.api.conditions import MISMATCH, UNMET
from daemon.api.status import FlagStatus, FlagUsage
from daemon.rollout.clock import span, stamp
from daemon.rollout.model import JudgeView, MetricView
from daemon.rollout.pick import COPIES
from daemon.rollout.turn import Turn

ONLY: Final = "Only observed: nothing was changed."


def count(number: int) -> str:
    """18340 as '18 340'."""
    return f"{number:,}".replace(",", " ")


def percent(events: int, total: int) -> str:
    """A share with as many digits as it needs: '0.11 %', '4.9 %', '0 %'."""
    if total <= 0:
        return "no requests"
    share = 100 * events / total
    if share == 0:
        return "0 %"
    if share < 0.005:
        return "<0.01 %"
    digits = 2 if share < 1 else 1 if share < 10 else 0
    return f"{share:.{digits}f} %"


def odds(nats: float) -> str:
    """Log evidence as odds people read: 7.8 -> '2 400 : 1'."""
    value = exp(min(nats, 34.0))
    if value >= 100:
        magnitude = 10 ** (len(str(int(value))) - 2)
        return f"{count(int(value / magnitude) * magnitude)} : 1"
    return f"{value:.1f} : 1" if value < 10 else f"{value:.0f} : 1"


def subject(turn: Turn) -> str:
    """'checkout 7f9c', with what is held against it from before."""
    rollout = turn.status.rollout
    if rollout is None:
        return turn.name
    return f"{turn.name} {rollout.revision}{f' ({rollout.burden})' if rollout.burden else ''}"


def person(turn: Turn) -> str:
    """' by ada (the till is down)'; empty where nobody decided."""
    rollout = turn.rollout
    if not rollout.decided_by:
        return ""
    return f" by {rollout.decided_by}{f' ({rollout.decided_why[:300]})' if rollout.decided_why else ''}"


def weight_now(turn: Turn) -> int:
    """The share the canary has, as far as it was seen."""
    rollout = turn.status.rollout
    return rollout.weight_reached if rollout else 0


def promoted(turn: Turn) -> str:
    """Why, and with what proof, this revision is now stable."""
    rollout = turn.rollout
    head = f"{subject(turn)} promoted after {span(turn.elapsed(rollout.started_at))}"
    if rollout.promote_reason == "Override":
        return f"{head}: released by override{person(turn)}, not judged."
    if rollout.promote_reason == "Hotfix":
        return f"{head}: released as a hotfix{person(turn)}, not judged{_evidence(turn, prefix=': ')}{_flags_after(turn)}."
    if rollout.promote_reason == "Undo":
        return f"{head}: brought back{person(turn)}; it was good before."
    if rollout.promote_reason == "Person":
        return f"{head}, by a person's decision{person(turn)}{_evidence(turn, prefix=': ')}{_flags_after(turn)}."
    if rollout.promote_reason == "Owner":
        return f"{head}, by its owner's rule, not by a proof ({rollout.rollback_cause}){_flags_after(turn)}."
    judge = turn.seen.judge
    proof = _evidence(turn, prefix=": ")
    metric = _main(judge)
    bound = f"; {metric.bound}" if metric and metric.bound else ""
    bound += f"; {judge.widened}" if judge and judge.widened else ""
    return f"{head}{proof}{bound}{_flags_after(turn)}."


def rolled_back(turn: Turn) -> str:
    """What was stopped, when, at which share, why, and how fast the exposure ended."""
    rollout = turn.rollout
    ended = rollout.abort_at
    lasted = turn.elapsed(rollout.started_at) - turn.elapsed(ended)
    reason = rollout.rollback_reason or ""
    head = f"{subject(turn)} rolled back after {span(lasted)} at {stood_at(turn)}"
    return f"{head}: {_cause(turn, reason)}{_ended(turn)}"


def stood_at(turn: Turn) -> str:
    """What reached the canary when the way back began. Of copies nobody got an answer, so they are never told as harm to people."""
    rollout = turn.rollout
    picked = rollout.pick_at_abort
    if not picked:
        return f"{rollout.weight_at_abort} %"
    return f"{picked}, whose answers nobody got" if picked.startswith(COPIES) else picked


def _cause(turn: Turn, reason: str) -> str:
    judge = turn.seen.judge
    metric = _culprit(judge)
    if reason == "Worse" and judge is not None and metric is not None:
        return (
            f"{_counts(metric, _arms(turn))}; {odds(metric.log_worse)} against 'no worse than tolerated', "
            f"{judge.needed_odds:.0f} : 1 needed.{_seen_by(metric.canary_total or judge.canary_requests)}"
        )
    cause = turn.rollout.rollback_cause or reason
    return cause if cause.endswith(".") else f"{cause}."


def _seen_by(requests: int) -> str:
    """How many met the bad version; nothing where no metric counts requests."""
    return f" {count(requests)} {_requests(requests)} saw it." if requests else ""


def _ended(turn: Turn) -> str:
    """How fast the exposure ended. Of flags only those that were on: one that was never raised did not come back."""
    rollout = turn.rollout
    raised = [f for f in turn.status.flags if f.name in rollout.flags_at_abort]
    parts, late = [], ""
    if raised and rollout.flags_zeroed_at:
        names = ", ".join(f.key for f in raised)
        parts.append(f"{'Flags' if len(raised) > 1 else 'Flag'} {names} back at 0 after {_after(turn, rollout.flags_zeroed_at)}")
    elif raised:
        late = "".join(f" Flag {f.key} is not back at 0 yet{': ' + f.message[:200] if f.message else ''}." for f in raised)
    if rollout.weight_zeroed_at and turn.status.routes:
        parts.append(f"traffic after {_after(turn, rollout.weight_zeroed_at)}")
    if not parts:
        return late
    text = ", ".join(parts)
    return f" {text[0].upper()}{text[1:]}.{late}"


def _after(turn: Turn, text: str) -> str:
    return span(max(0.0, turn.elapsed(turn.rollout.abort_at) - turn.elapsed(text)))


def inconclusive(turn: Turn) -> str:
    """What is known, what is missing, how much longer, and how to decide."""
    judge = turn.seen.judge
    metric = _main(judge)
    if judge is not None and judge.action == "Inconclusive":  # a template's own word
        head = f"{subject(turn)} held at {weight_now(turn)} % after {span(turn.elapsed(turn.rollout.started_at))}"
        return f"{head}: {judge.text}; decide: linnet promote|abort {turn.name}."
    known = _evidence(turn, prefix=": ")
    known_bounds = [said for said in (metric.bound if metric else "", judge.widened if judge else "") if said]
    bound = f" (now: {'; '.join(known_bounds)})" if known_bounds else ""
    more = f"; about {span(judge.seconds_more)} more" if judge and judge.seconds_more else ""
    return (
        f"{subject(turn)} held at {weight_now(turn)} % after {span(turn.elapsed(turn.rollout.started_at))}{known}, "
        f"too little to prove it fine or worse{bound}{more}; decide: linnet promote|abort {turn.name}."
    )


def would_roll_back(turn: Turn, failing: str = "") -> str:
    """Observed: when and why it would have been stopped. `failing`: the kubelet's words, where its pods do not even start."""
    judge, metric = turn.seen.judge, _culprit(turn.seen.judge)
    cause = failing.rstrip(".") or (judge.text if judge is not None else "")
    if not failing and judge is not None and metric is not None:
        cause = f"{_counts(metric, _arms(turn))}; {odds(metric.log_worse)} against 'no worse than tolerated', {judge.needed_odds:.0f} : 1 needed"
    return f"{_would(turn, 'been rolled back')}: {cause}. {ONLY}"


def would_promote(turn: Turn) -> str:
    """Observed: with which proof it would have become stable."""
    metric = _main(turn.seen.judge)
    bound = f"; {metric.bound}" if metric and metric.bound else ""
    alone = turn.rollout.observed is not None and turn.rollout.observed.alone_since is not None
    weaker = "; compared with the minutes before the update, which proves less than two versions side by side" if alone else ""
    return f"{_would(turn, 'been promoted')}{_evidence(turn, prefix=': ')}{bound}{weaker}. {ONLY}"


def would_ask(turn: Turn) -> str:
    """Observed: the deadline came before a proof."""
    return f"{_would(turn, 'been left to a person')}{_evidence(turn, prefix=': ')}, too little to prove it fine or worse. {ONLY}"


def too_short(turn: Turn) -> str:
    """Observed: the last old pod went before anything was proven. No harm seen is not called fine."""
    rollout, judge = turn.rollout, turn.seen.judge
    if judge is None or judge.code in ("NoData", "ProviderError"):
        why = f": {judge.text}" if judge is not None and judge.text else ": the two versions never served together"
        return f"{subject(turn)} could not be judged{why}. {ONLY}"
    end = rollout.observed.alone_since if rollout.observed is not None else None
    together = span(max(0.0, turn.elapsed(rollout.judge_from) - turn.elapsed(end)))
    return (
        f"{subject(turn)}: too short to tell. Both versions served together for {together}{_evidence(turn, prefix=': ')}, which proves it "
        f"neither fine nor worse; a canary is given the time that takes. {ONLY}"
    )


def cut_off(turn: Turn, *, taken_back: bool) -> str:
    """Observed: another template came before anything was proven."""
    after = span(turn.elapsed(turn.rollout.started_at))
    what = "taken back by its people" if taken_back else f"replaced by {turn.workload.revision}"
    return f"{subject(turn)} was {what} after {after}, before anything was proven. {ONLY}"


def _would(turn: Turn, what: str) -> str:
    at = stamp(turn.now)
    return f"{subject(turn)} would have {what} at {at[11:19]} UTC, {span(turn.elapsed(turn.rollout.started_at))} after its roll began"


def _main(judge: JudgeView | None) -> MetricView | None:
    return judge.metrics[0] if judge and judge.metrics else None


def _culprit(judge: JudgeView | None) -> MetricView | None:
    if judge is None or not judge.metrics:
        return None
    named = (m for m in judge.metrics if m.name == judge.culprit)
    return next(named, max(judge.metrics, key=lambda m: m.log_worse))


def _requests(number: int) -> str:
    return "request" if number == 1 else "requests"


def _arms(turn: Turn) -> tuple[str, str]:
    """What the two sides are called: pods, or people with and without the flag."""
    if turn.plan.observe:
        return "new", "old"
    return ("flag-on", "flag-off") if turn.plan.flags_only else ("canary", "baseline")


def _counts(metric: MetricView, arms: tuple[str, str]) -> str:
    if metric.says:
        return metric.says
    tried, other = arms
    if metric.canary_total <= 0:
        return f"no {tried} requests"
    name = "" if metric.name == "errors" else f"{metric.name}: "
    return (
        f"{name}{count(metric.canary_events)} of {count(metric.canary_total)} {tried} {_requests(metric.canary_total)} failed "
        f"({percent(metric.canary_events, metric.canary_total)}), {other} {percent(metric.baseline_events, metric.baseline_total)}"
    )


def _evidence(turn: Turn, *, prefix: str) -> str:
    judge = turn.seen.judge
    metric = _main(judge)
    parts = [_counts(metric, _arms(turn))] if metric and (metric.canary_total or metric.says) else []
    parts += [judge.checks] if judge and judge.checks else []
    return f"{prefix}{'; '.join(parts)}" if parts else ""


def flag_shares(flag: FlagStatus) -> str:
    """'10 %', '100 % for beta', '10 %, 100 % for beta'."""
    some = [f"{c.wanted} % for {c.name}" for c in flag.cohorts if c.wanted]
    return ", ".join(some if some and not flag.wanted else [f"{flag.wanted} %", *some])


def _met(usage: FlagUsage | None) -> str:
    """What a proof does not cover: a release may be fine because nobody met its flag."""
    if usage is None or usage.found not in (UNMET, MISMATCH):
        return ""
    total = usage.yes + usage.no
    if usage.found == MISMATCH:
        return f" (met otherwise than set: on in {percent(usage.yes, total)} of {count(total)} evaluations)"
    return f" (not proven: it was {f'evaluated {count(total)} times and never on' if total else 'never evaluated'})"


def _flags_after(turn: Turn) -> str:
    """What each flag is from now on, for everybody."""
    removed = {f.name for f in turn.plan.flags if f.on_promotion == "Remove"}
    parts = []
    for flag in turn.status.flags:
        if flag.message:
            parts.append(f"flag {flag.key} left as it is ({flag.message[:200]})")
        else:
            parts.append(f"flag {flag.key} {'as it was found' if flag.name in removed else flag_shares(flag)}{_met(flag.usage)}")
    return f"; {', '.join(parts)}" if parts else ""
