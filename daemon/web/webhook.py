"""The hold on servers that have no MutatingAdmissionPolicy (before Kubernetes 1.36): the same two changes, made by the daemon.

The API server evaluates the *conditions* of the policies either way: the chart writes their CEL, word by word, into the webhook's
`matchConditions`. So what arrives here is to be changed, nothing of anybody else's Deployments is ever sent, and there is one truth
for when a write is held. Here is only what the policies' `mutations` say. No cache, no state and no rights are needed: every replica
answers, leader or not.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from daemon.api import names
from daemon.kube.patch import Operation, add, encode_operations, pointer

HOLD: Final = "/hold"
AUTHOR: Final = "/author"
LARGEST: Final = 16 * 2**20  # an object of the API server has at most 3 MiB, and a review carries two of them
_ANNOTATIONS: Final = pointer("metadata", "annotations")


class _Metadata(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()

    def annotation(self, key: str) -> str | None:
        return (self.metadata.annotations or {}).get(key)


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """What of `AdmissionReview.request` is looked at."""

    uid: str
    object: _Object
    old_object: _Object | None = None
    user_info: _User = _User()


class _Review(msgspec.Struct, frozen=True):
    request: Request


Mutation = Callable[[Request], list[Operation]]
_DECODER: Final = msgspec.json.Decoder(_Review)


def hold(request: Request) -> list[Operation]:
    """Paused, marked, and adopted still, in the very write that changes the template: `mutations` of the policy linnet-hold."""
    old = request.old_object or _Object()
    canary = request.object.annotation(names.CANARY_MARK)
    canary = old.annotation(names.CANARY_MARK) if canary is None else canary
    if canary is None:
        return []
    marks = {names.HELD_MARK: names.HELD_BY_WEBHOOK, names.CANARY_MARK: canary, names.AUTHOR_MARK: _authors(request, old)}
    return [*_annotate(request.object, marks), add(pointer("spec", "paused"), value=True)]


def _authors(request: Request, old: _Object) -> str:
    """Everybody who wrote a template since the hold began: whoever restarts what is held does not take its author's place."""
    before = (old.annotation(names.AUTHOR_MARK) or "").split("\n") if old.annotation(names.HELD_MARK) is not None else []
    return "\n".join(dict.fromkeys([*filter(None, before), request.user_info.username]))


def author(request: Request) -> list[Operation]:
    """Who said it, before what they said: `mutations` of the policy linnet-author."""
    said = request.object.annotation(names.ACTION)
    return [] if said is None else _annotate(request.object, {names.ACTION_BY: f"{request.user_info.username} {said}"})


def _annotate(item: _Object, marks: dict[str, str]) -> list[Operation]:
    if not item.metadata.annotations:
        return [add(_ANNOTATIONS, marks)]
    return [add(pointer("metadata", "annotations", key), value) for key, value in marks.items()]


def application() -> web.Application:
    """`POST /hold` and `POST /author`, as the API server asks them."""
    app = web.Application(client_max_size=LARGEST)
    app.router.add_post(HOLD, _handler(hold))
    app.router.add_post(AUTHOR, _handler(author))
    return app


def _handler(mutation: Mutation) -> Callable[[web.Request], Any]:
    async def handle(call: web.Request) -> web.Response:
        try:
            request = _DECODER.decode(await call.read()).request
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            # Said to the API server, which goes on without us and counts it as a failed call.
            raise web.HTTPBadRequest(text=f"not an AdmissionReview with an object: {e}\n") from e
        return web.json_response(_answer(request.uid, mutation(request)))

    return handle


def _answer(uid: str, operations: list[Operation]) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if operations:
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(encode_operations(operations)).decode()}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
