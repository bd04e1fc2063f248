"""One table of what the hold policies do to writes, for every API server that claims to evaluate them.

The real API server compiles the CEL of `charts/linnet/files/hold-policies.yaml`; the sandbox evaluates the same text with a library of
its own. Whether both mean the same is not argued but run: each case is a few writes by the owner or by Linnet through a small
client protocol, what must be seen after the last one, and (`harm`) what is seen without the policies. A case whose harm equals its
promise would prove nothing, and `test_hold_policies.py` refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hold_writes import (
    ADOPTED,
    BAD,
    GOOD,
    WORSE,
    Api,
    Seen,
    Step,
    Subject,
    annotate,
    apply,
    json_patch,
    merge,
    observed,
    pause,
    replace,
    scale,
    set_image,
)

POLICIES = Path(__file__).parents[2] / "charts" / "linnet" / "files" / "hold-policies.yaml"


def policies(usernames: list[str], path: Path = POLICIES) -> list[dict[str, Any]]:
    """The policy objects, as the chart and the sandbox load them, with Linnet being these users."""
    literal = "[" + ", ".join(f"'{name}'" for name in usernames) + "]"
    text = path.read_text().replace("LINNET_USERNAMES", literal)
    return [document for document in yaml.safe_load_all(text) if document]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A few writes on one Deployment; `promise` is seen with the policies, `harm` without them (None: no difference)."""

    name: str
    steps: tuple[Step, ...]
    promise: Seen
    harm: Seen | None
    annotations: Mapping[str, str] | None = None
    paused: bool = False


async def run(case: Case, api: Api, namespace: str) -> Seen:
    """Plays a case in an empty namespace; every write but the last must be accepted."""
    subject = Subject(api=api, namespace=namespace)
    code, body = await subject.create(annotations=case.annotations, paused=True if case.paused else None)
    assert code == 201, body
    for step in case.steps[:-1]:
        code, body = await step(subject)
        assert code == 200, body
    code, body = await case.steps[-1](subject)
    after = await subject.read()
    marks = after["metadata"].get("annotations", {})
    return Seen(
        code=code,
        image=after["spec"]["template"]["spec"]["containers"][0]["image"],
        paused=bool(after["spec"].get("paused", False)),
        held="linnet.dev/held" in marks,
        adopted="linnet.dev/canary" in marks,
        message=str(body.get("message", "")) if code >= 400 else "",
    )


HELD = Seen(image=BAD, paused=True, held=True)
ROLLED = Seen(image=BAD, paused=False, held=False)
ROLLED_UNMARKED = Seen(image=BAD, paused=False, held=False, adopted=False)
REFUSED = Seen(code=403, image=BAD, paused=True, held=True, message="linnet promote --override")
RELEASED = Seen(image=BAD, paused=False, held=False)
hold_it = set_image(BAD)
# Both worlds start the second half from a Deployment that is held, also the one whose policies are gone.
mark_held = merge({"metadata": {"annotations": {"linnet.dev/held": "policy"}}, "spec": {"paused": True}}, user="linnet")
unpause = {"op": "replace", "path": "/spec/paused", "value": False}
unmark = {"op": "remove", "path": "/metadata/annotations/linnet.dev~1held"}

CASES = (
    # The hold.
    Case(name="set image is held in the same write", annotations=ADOPTED, steps=(set_image(BAD),), promise=HELD, harm=ROLLED),
    Case(name="server-side apply is held", annotations=ADOPTED, steps=(apply(annotations=ADOPTED, image=BAD),), promise=HELD, harm=ROLLED),
    Case(
        name="apply of a manifest with paused false is held",
        annotations=ADOPTED,
        steps=(apply(image=BAD, paused=False),),
        promise=HELD,
        harm=ROLLED,
    ),
    Case(
        name="replace without annotations is held and stays adopted",
        annotations=ADOPTED,
        steps=(replace(image=BAD),),
        promise=HELD,
        harm=ROLLED_UNMARKED,
    ),
    Case(
        name="rollout restart (an annotation of the template) is held",
        annotations=ADOPTED,
        steps=(merge({"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}}),),
        promise=Seen(image=GOOD, paused=True, held=True),
        harm=Seen(image=GOOD, paused=False, held=False),
    ),
    Case(
        name="adopting and changing in one write is held",
        steps=(replace(image=BAD, annotations=ADOPTED),),
        promise=HELD,
        harm=ROLLED,
    ),
    Case(
        name="a newer template while held stays held",
        annotations=ADOPTED,
        steps=(hold_it, set_image(WORSE)),
        promise=Seen(image=WORSE, paused=True, held=True),
        harm=Seen(image=WORSE, paused=False, held=False),
    ),
    Case(
        name="a replace with a newer template while held stays held",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, replace(image=WORSE)),
        promise=Seen(image=WORSE, paused=True, held=True),
        harm=Seen(image=WORSE, paused=False, held=False, adopted=False),
    ),
    Case(
        name="pause, set image, resume ends in a hold",
        annotations=ADOPTED,
        steps=(observed(pods=1, updated=1), pause(True), set_image(BAD), observed(pods=1, updated=0), pause(False)),
        promise=HELD,
        harm=ROLLED,
    ),
    Case(
        name="resume and a new image in one write are held",
        annotations=ADOPTED,
        steps=(pause(True), replace(image=BAD, annotations=ADOPTED, paused=False)),
        promise=HELD,
        harm=ROLLED,
    ),
    # The release.
    Case(
        name="rollout resume is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, pause(False)),
        promise=REFUSED,
        harm=Seen(image=BAD, paused=False, held=True),
    ),
    Case(
        name="replace of the held template is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, replace(image=BAD)),
        promise=REFUSED,
        harm=ROLLED_UNMARKED,
    ),
    Case(
        name="apply with paused false is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, apply(image=BAD, paused=False)),
        promise=REFUSED,
        harm=Seen(image=BAD, paused=False, held=True),
    ),
    Case(
        name="a JSON Patch of paused is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, json_patch(unpause)),
        promise=REFUSED,
        harm=Seen(image=BAD, paused=False, held=True),
    ),
    Case(
        name="removing paused is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, json_patch({"op": "remove", "path": "/spec/paused"})),
        promise=REFUSED,
        harm=Seen(image=BAD, paused=False, held=True),
    ),
    Case(
        name="removing the mark is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, annotate(held=None)),
        promise=REFUSED,
        harm=Seen(image=BAD, paused=True, held=False),
    ),
    Case(
        name="removing the canary mark does not open the hold",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, annotate(canary=None), pause(False)),
        promise=Seen(code=403, image=BAD, paused=True, held=True, adopted=False, message="linnet promote --override"),
        harm=Seen(image=BAD, paused=False, held=True, adopted=False),
    ),
    Case(
        name="another author of what is held is refused",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, annotate(author="bob")),
        promise=Seen(code=403, image=BAD, paused=True, held=True, message="stamped by the API server"),
        harm=HELD,
    ),
    Case(
        name="another author beside the break-glass is the owner's",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, annotate(author="bob", hold="off")),
        promise=HELD,
        harm=None,
    ),
    # What stays free.
    Case(
        name="Linnet releases what it judged",
        annotations=ADOPTED,
        steps=(
            hold_it,
            mark_held,
            json_patch({"op": "test", "path": "/spec/template/spec/containers/0/image", "value": BAD}, unmark, unpause, user="linnet"),
        ),
        promise=RELEASED,
        harm=None,
    ),
    Case(name="Linnet's own template is not held", annotations=ADOPTED, steps=(set_image(BAD, user="linnet"),), promise=ROLLED, harm=None),
    Case(
        name="break-glass: hold off, then resume",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, annotate(hold="off"), pause(False)),
        promise=Seen(image=BAD, paused=False, held=True),
        harm=None,
    ),
    Case(
        name="break-glass in one write",
        annotations=ADOPTED,
        steps=(
            hold_it,
            mark_held,
            merge({"metadata": {"annotations": {"linnet.dev/hold": "off", "linnet.dev/held": None}}, "spec": {"paused": False}}),
        ),
        promise=RELEASED,
        harm=None,
    ),
    Case(
        name="hold off lets every template roll",
        annotations={**ADOPTED, "linnet.dev/hold": "off"},
        steps=(set_image(BAD),),
        promise=ROLLED,
        harm=None,
    ),
    Case(
        name="another value of hold is not off",
        annotations={**ADOPTED, "linnet.dev/hold": "on"},
        steps=(set_image(BAD),),
        promise=HELD,
        harm=ROLLED,
    ),
    Case(
        name="an owner's own pause and resume",
        annotations=ADOPTED,
        steps=(observed(pods=1, updated=1), pause(True), observed(pods=1, updated=1), pause(False)),
        promise=Seen(image=GOOD, paused=False, held=False),
        harm=None,
    ),
    Case(
        name="a new template under an owner's pause stays the owner's",
        annotations=ADOPTED,
        steps=(pause(True), set_image(BAD)),
        promise=Seen(image=BAD, paused=True, held=False),
        harm=None,
    ),
    Case(name="scale while held", annotations=ADOPTED, steps=(hold_it, mark_held, scale(3)), promise=HELD, harm=None),
    Case(
        name="labels and replicas while held",
        annotations=ADOPTED,
        steps=(hold_it, mark_held, merge({"metadata": {"labels": {"team": "shop"}}, "spec": {"replicas": 2}})),
        promise=HELD,
        harm=None,
    ),
    Case(
        name="replicas alone are not held",
        annotations=ADOPTED,
        steps=(merge({"spec": {"replicas": 2}}),),
        promise=Seen(image=GOOD, paused=False, held=False),
        harm=None,
    ),
    Case(
        name="an opt-in that was not adopted",
        annotations={"linnet.dev/profile": "wbe"},
        steps=(set_image(BAD),),
        promise=ROLLED_UNMARKED,
        harm=None,
    ),
    Case(name="a foreign Deployment", steps=(set_image(BAD),), promise=ROLLED_UNMARKED, harm=None),
    Case(
        name="a foreign Deployment is paused and resumed",
        steps=(pause(True), set_image(BAD), pause(False)),
        promise=ROLLED_UNMARKED,
        harm=None,
    ),
)
