"""The writes of the hold's cases: what kubectl, Helm and GitOps tools send to one Deployment, through any client.

Each step is one request as a tool makes it; `hold_cases` says what must be seen after some of them in a row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

User = Literal["owner", "linnet"]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
JSON = "application/json"

ADOPTED = {"linnet.dev/profile": "web", "linnet.dev/canary": "checkout"}
GOOD, BAD, WORSE = "shop:1", "shop:2", "shop:3"


class Api(Protocol):
    """Sends one request as the owner (anyone who may write Deployments) or as Linnet's ServiceAccount; status code and decoded body."""

    async def __call__(
        self, method: str, path: str, *, user: User, body: object = None, content_type: str = JSON
    ) -> tuple[int, dict[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a case ends with: the code of the last write, a part of its message, and the stored Deployment."""

    code: int = 200
    image: str
    paused: bool
    held: bool
    adopted: bool = True
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The Deployment of a case, seen through the client protocol."""

    api: Api
    namespace: str
    name: str = "checkout"

    @property
    def path(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name}"

    async def read(self) -> dict[str, Any]:
        code, body = await self.api("GET", self.path, user="owner")
        assert code == 200, body
        return body

    async def create(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        collection, _, _ = self.path.rpartition("/")
        return await self.api("POST", collection, user="owner", body=manifest(self.name, **changes))


Step = Callable[[Subject], Awaitable[tuple[int, dict[str, Any]]]]


def manifest(
    name: str, *, image: str = GOOD, annotations: Mapping[str, str] | None = None, paused: bool | None = None, replicas: int = 1
) -> dict[str, Any]:
    """An ordinary Deployment, as a user keeps it in Git."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **({"annotations": dict(annotations)} if annotations else {})},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            **({} if paused is None else {"paused": paused}),
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}},
        },
    }


def set_image(image: str, user: User = "owner") -> Step:
    """`kubectl set image`."""
    body = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
    return lambda subject: subject.api("PATCH", subject.path, user=user, body=body, content_type=STRATEGIC)


def merge(body: Mapping[str, Any], user: User = "owner") -> Step:
    """`kubectl patch --type merge`, `annotate`, `rollout pause` and `resume`."""
    return lambda subject: subject.api("PATCH", subject.path, user=user, body=body, content_type=MERGE)


def pause(paused: bool) -> Step:
    return merge({"spec": {"paused": paused}})


def annotate(**annotations: str | None) -> Step:
    """Annotations under `linnet.dev/`; None removes one."""
    return merge({"metadata": {"annotations": {f"linnet.dev/{key}": value for key, value in annotations.items()}}})


def json_patch(*operations: Mapping[str, Any], user: User = "owner") -> Step:
    return lambda subject: subject.api("PATCH", subject.path, user=user, body=list(operations), content_type=JSON_PATCH)


def replace(**changes: Any) -> Step:
    """`kubectl replace -f`: a PUT of the user's own file, without anything that the server or Linnet added."""
    return lambda subject: subject.api("PUT", subject.path, user="owner", body=manifest(subject.name, **changes))


def apply(**changes: Any) -> Step:
    """`kubectl apply --server-side --force-conflicts`."""

    async def step(subject: Subject) -> tuple[int, dict[str, Any]]:
        path = f"{subject.path}?fieldManager=git&force=true"
        return await subject.api("PATCH", path, user="owner", body=manifest(subject.name, **changes), content_type=APPLY)

    return step


def scale(replicas: int) -> Step:
    """`kubectl scale`."""
    body = {"spec": {"replicas": replicas}}
    return lambda subject: subject.api("PATCH", f"{subject.path}/scale", user="owner", body=body, content_type=MERGE)


def observed(*, pods: int, updated: int, seconds: float = 30.0) -> Step:
    """Waits until the Deployment's controller has written what it sees (`pods` in all, `updated` of the newest template)."""

    async def step(subject: Subject) -> tuple[int, dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while True:
            body = await subject.read()
            status = body.get("status", {})
            caught_up = status.get("observedGeneration") == body["metadata"]["generation"]
            if caught_up and (status.get("replicas", 0), status.get("updatedReplicas", 0)) == (pods, updated):
                return 200, body
            assert time.monotonic() < deadline, f"no controller wrote {pods} pods, {updated} updated: {status}"
            await asyncio.sleep(0.05)

    return step


async def dry_run_is_held(api: Api, namespace: str, user: User) -> bool:
    """Whether a dry run of a template change says that it would be held; nothing is stored."""
    subject = Subject(api=api, namespace=namespace)
    code, body = await subject.create(annotations=ADOPTED)
    assert code == 201, body
    change = {"spec": {"template": {"metadata": {"annotations": {"probe": "hold"}}}}}
    code, body = await api("PATCH", f"{subject.path}?dryRun=All", user=user, body=change, content_type=MERGE)
    assert code == 200, body
    after = await subject.read()
    assert "annotations" not in after["spec"]["template"]["metadata"]
    return bool(body["spec"].get("paused", False))
