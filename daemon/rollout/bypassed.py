"""What got past the hold: a version runs that nobody judged, or stable's pods are gone.

Neither is ever taken as stable by itself, and nothing here rolls pods that a person let go: people are told, and given the ways out.
"""

from typing import Final

from daemon.rollout.model import RestoreTemplate, StoreTemplate
from daemon.rollout.turn import Turn

GRACE: Final = 10.0  # seconds for the native controller to scale the right ReplicaSet


def bypass(turn: Turn) -> None:
    """A template that is not stable rolls: its owner said so, or it escaped the hold."""
    workload = turn.workload
    if workload.hold_off:
        return _accept(turn)
    turn.tell(
        "Bypassed",
        f"{turn.name}: revision {workload.revision} rolls without being judged; it is watched and not taken as stable",
        warning=True,
    )
    turn.set(observed_revision=workload.revision)
    turn.enter("Bypassed")
    return None


def _accept(turn: Turn) -> None:
    """The owner broke the glass: what runs complete is stable by their word."""
    workload = turn.workload
    if workload.complete and workload.available >= workload.replicas:
        turn.set(stable_revision=workload.revision, observed_revision=workload.revision)
        turn.do(StoreTemplate(revision=workload.revision, role="stable", by="HoldOff"))
        turn.enter("Idle")
    else:
        turn.linger("HoldOff", "released by its owner (linnet.dev/hold=off)", "remove the annotation to be held again")


def bypassed(turn: Turn) -> None:
    """Handler of phase Bypassed: an unjudged template runs; it is never taken as stable by itself."""
    workload, stable = turn.workload, turn.status.stable_revision
    if workload.revision == stable:
        turn.enter("Idle")
        return
    if workload.paused and workload.held:
        _held_on_bypassed(turn)
        return
    if workload.revision not in turn.seen.stored:
        turn.do(StoreTemplate(revision=workload.revision, role="candidate"))  # so that it can be named when a newer one is held
    if workload.hold_off:
        _accept(turn)
        return
    turn.wait(
        "Bypassed",
        f"revision {workload.revision} runs without having been judged",
        way_out=f"apply the stable version again, or accept this one: linnet promote --override {turn.name} --reason WHY",
    )


def _held_on_bypassed(turn: Turn) -> None:
    """A newer template is held while a version serves that was never judged.

    There is no stable to compare with, and writing the old stable template back would roll pods that a person let go: it waits for a word.
    """
    workload, stable = turn.workload, turn.status.stable_revision
    if any(r.revision == stable for r in workload.active):
        turn.enter("Idle")
        return
    if not workload.active and workload.replicas and stable_lost(turn):
        return
    serves = next((r.revision for r in workload.active if r.revision), None)
    named = (
        f"accept {serves} and judge the new one: linnet promote --override {turn.name} --revision {serves} --reason WHY; or "
        if serves
        else ""
    )
    message = f"revision {workload.revision} is held: {serves or 'what'} serves was never judged, so there is no stable to compare it with"
    if turn.status.waiting is None or turn.status.waiting.message != message:
        turn.tell("Bypassed", f"{turn.name}: {message}", warning=True)
    turn.wait(
        "Bypassed",
        message,
        way_out=f"{named}release the new one unjudged: linnet promote --override {turn.name} --reason WHY; or apply {stable}",
    )


def stable_lost(turn: Turn) -> bool:
    """After a scale to zero, the native controller may revive the wrong ReplicaSet, or none (workload-traps A3)."""
    workload, stable = turn.workload, turn.status.stable_revision
    if workload.replicas == 0:
        turn.wait("ScaledToZero", "replicas is 0: the held template is judged after the Deployment is scaled up", way_out="scale it up")
        return True
    if any(r.revision == stable for r in workload.active):
        return False
    if not workload.active and turn.waited("StableMissing") < GRACE:
        turn.wait(
            "StableMissing",
            "no ReplicaSet of the stable version has pods",
            within=GRACE,
            way_out="the stored stable template is written back then",
        )
        return True
    turn.enter("StableLost")
    turn.tell(
        "StableLost",
        f"{turn.name}: no pods of stable {stable}; its stored template is written back. Apply the new version again",
        warning=True,
    )
    return True


def lost(turn: Turn) -> None:
    """Handler of phase StableLost: the stored template goes back."""
    workload, stable = turn.workload, turn.status.stable_revision or ""
    if workload.revision == stable or not workload.paused:
        turn.enter("Idle")
    elif stable in turn.seen.stored:
        turn.do(RestoreTemplate(revision=stable, expected=workload.revision))
        turn.wait(
            "StableLost",
            "the stored stable template is written back",
            within=turn.plan.progress,
            way_out="apply the stable manifest",
        )
    else:
        turn.wait(
            "StableLost",
            "neither a ReplicaSet nor a stored template of stable exists",
            way_out="apply a good manifest with linnet.dev/hold=off",
        )
