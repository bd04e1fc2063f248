"""Before any release: one sentence that says what the next one will do."""

from daemon.control.measuring import interval_of
from daemon.control.resolve import Resolved
from daemon.rollout.clock import span
from daemon.rollout.model import Observed
from daemon.rollout.steps import plan_of


def outlook(resolved: Resolved, seen: Observed) -> str:
    """Service, route, steps, flags, metrics, kind of hold, least time."""
    plan = plan_of(resolved.spec, gitops=bool(seen.gitops))
    ladder = ", ".join(f"{s.weight} %" for s in plan.steps)
    least = sum(max(s.dwell, s.pause or 0.0) for s in plan.steps)
    where = "by share of pods"
    if resolved.scopes:
        where = "on " + ", ".join(f"HTTPRoute {s.name}" for s in resolved.scopes)
    service = f" of Service {resolved.service.name}" if resolved.service else ""
    flags = "".join(f", flag {f.key} with it" for f in resolved.flags)
    analysis = resolved.spec.analysis
    metrics = ", ".join(m.name for m in (analysis.metrics if analysis else None) or [])
    interval = interval_of(resolved)
    source = f"{resolved.metric_source.spec.type} {resolved.metric_source.name}" if resolved.metric_source else "no source"
    hold = "kept paused between releases" if plan.hold_always else "held by the API server's policy"
    after = "restored" if plan.restore else f"left held ({seen.gitops or 'onRollback: Hold'})"
    return (
        f"The next template change is {hold}; the canary then gets {ladder} of requests{service} {where}{flags}; "
        f"{metrics} from {source} every {span(interval)}; at least {span(least)}; a bad template is {after}."
    )
