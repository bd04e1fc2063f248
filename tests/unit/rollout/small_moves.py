"""What may happen in the small world between two passes: others do their part, time passes, or something goes wrong.

What others do as they should costs nothing in the search's account; a mishap (a person's verb, a writer who interferes, evidence that turns,
a daemon that dies) costs one, and the search visits all that so many of them can bring about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.unit.rollout.small_world import LONG, NO_TIME, REVISIONS, SmallWorld, State, later

Move = tuple[str, State]
TROUBLES: Final = ("pods", "crashes", "gateway", "flags", "rolling", "freeze", "group", "doomed")
_VERDICTS: Final = ("bad", "nodata")


def by_themselves(world: SmallWorld, state: State) -> Iterator[Move]:
    """What follows without anybody's doing: controllers, pods, gateways, flag sources, the evidence, the time that is waited for."""
    for name, moved in (
        ("controllers", controllers(world, state)),
        ("canary pods", canary_pods(state)),
        ("gateway", gateway(state)),
        ("flag is seen", flag_seen(state)),
    ):
        if moved != state:
            yield name, moved
    rollout = world.bare(state).rollout
    if rollout is not None and rollout.judge_from is not None and state.judge == "none":
        yield "proof", state._replace(judge="good")
    wait = waited_for(state)
    if wait:
        yield f"{wait} s", later(state, wait)


def waited_for(state: State) -> int:
    """Seconds until the deadline of the present wait; 0 where none is ahead."""
    until = state.ages[1]
    return -until if until != NO_TIME and until < 0 else 0


def controllers(world: SmallWorld, state: State) -> State:
    """One sync of Deployment and autoscaler, and what pods then start."""
    world.load(state)
    world._native()
    for revision, pods in world.sets.items():
        pods.available = min(pods.available, pods.replicas)
        if revision == "v1" or state.trouble not in ("rolling", "crashes"):
            pods.available = pods.replicas
    sets = tuple((r, p.replicas, p.available) for r, p in world.sets.items())
    return state._replace(sets=sets, replicas=world.replicas)


def canary_pods(state: State) -> State:
    if state.trouble in ("pods", "crashes"):
        return state
    return state._replace(canaries=tuple((r, n, n) for r, n, _ in state.canaries))


def gateway(state: State) -> State:
    return state if state.trouble == "gateway" else state._replace(accepted=True)


def flag_seen(state: State) -> State:
    if state.flag is None or state.flag[0] is None or state.trouble == "flags":
        return state
    percent, gated, _, drift = state.flag
    return state._replace(flag=(percent, gated, True, drift))


def mishaps(world: SmallWorld, state: State) -> Iterator[Move]:
    """What people, other managers and misfortune may do to this state."""
    rollout = world.bare(state).rollout
    if rollout is not None and rollout.judge_from is not None:
        yield from ((f"judge: {v}", state._replace(judge=v)) for v in _VERDICTS if v != state.judge)
    if state.trouble:
        yield "the trouble ends", state._replace(trouble="")
    else:
        yield from ((f"trouble: {t}", state._replace(trouble=t)) for t in TROUBLES if _matters(world, state, t))
    if rollout is not None:
        yield "nobody looks for long", later(state, LONG)
    yield from _people(world, state)
    yield from _others(world, state)


def _matters(world: SmallWorld, state: State, trouble: str) -> bool:
    if trouble in ("gateway", "flags"):
        return (bool(world.routes) if trouble == "gateway" else bool(world.flags)) and world.bare(state).rollout is not None
    return True


def _people(world: SmallWorld, state: State) -> Iterator[Move]:
    for revision in REVISIONS:
        if revision != state.template:
            world.load(state)
            world.apply(revision)
            yield f"apply {revision}", state._replace(template=world.template, paused=world.paused, held=world.held is not None)
    if state.held:
        yield "un-pause", state._replace(paused=False, held=False)
    yield "scale", state._replace(replicas=0 if state.replicas else 2)


def _others(world: SmallWorld, state: State) -> Iterator[Move]:
    if any(available for _, _, available in state.canaries):
        yield "canary pods die", state._replace(canaries=tuple((r, n, 0) for r, n, _ in state.canaries))
    if state.canaries:
        yield "canary is deleted", state._replace(canaries=())
    if state.weight is not None:
        yield "route is taken back", state._replace(weight=None, manager="argocd")
        yield "route is taken", state._replace(weight=100, manager="argocd")
    if state.flag is not None and state.flag[0] and state.flag[3] is None:
        percent, gated, seen, _ = state.flag
        yield "flag is lowered", state._replace(flag=(percent, gated, seen, "lower"))
    if state.scaler is not None and state.scaler[1] and state.scaler[0] > 1:
        yield "floor is taken back", state._replace(scaler=(1, True, state.scaler[2], True))
    if state.scaler is not None and state.replicas:
        yield "autoscaler", state._replace(replicas=3 if state.replicas < 3 else 2)


def behaving(world: SmallWorld, state: State) -> State:
    """Everybody else does all of their part at once, and nothing is wrong any more. The evidence is what it is, or a proof."""
    state = state._replace(trouble="", replicas=state.replicas or 2, judge="good" if state.judge in ("none", "nodata") else state.judge)
    if state.flag is not None and state.flag[3] is not None:
        percent, gated, seen, _ = state.flag
        state = state._replace(flag=(percent, gated, seen, None))
    return following(world, state)


def following(world: SmallWorld, state: State) -> State:
    """Everybody else does at once what can be done as things are; what is wrong stays wrong, and the evidence says what it says."""
    state = flag_seen(gateway(canary_pods(state)))
    while (synced := controllers(world, state)) != state:
        state = synced
    return state


__all__ = ["Move", "behaving", "by_themselves", "following", "mishaps", "waited_for"]
