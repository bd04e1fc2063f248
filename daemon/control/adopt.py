"""The short form: a Canary for each Deployment that asks for one by annotation, owned by it, and gone when it no longer asks.

What is misspelt is said on the Deployment, with the nearest right name, and holds nothing.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from daemon.api import names
from daemon.api.annotations import canary_from_annotations, opted_in
from daemon.api.canary import CanarySpec
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.resolve import Resolver
from daemon.control.tell import Teller
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.kube.controller import Result
from daemon.kube.objects import Deployment, ObjectMeta
from daemon.kube.patch import add, at_version, pointer
from daemon.kube.store import Key

MADE_BY: Final = f"{names.GROUP}/from-annotations"  # label: this Canary follows the Deployment's annotations


class Adopter:
    def __init__(self, client: Client, caches: Caches, teller: Teller, resolver: Resolver) -> None:
        self._client = client
        self._caches = caches
        self._teller = teller
        self._resolver = resolver
        self._said: dict[Key, str] = {}

    async def reconcile(self, key: Key) -> Result | None:
        """One Deployment: its Canary is as its annotations say."""
        deployment = self._caches.deployments.store.get(*key)
        if deployment is None or deployment.metadata.deletion_timestamp is not None:
            self._said.pop(key, None)
            return None
        if deployment.metadata.label(names.OWNER):
            return None  # a canary of ours
        made = self._made(deployment)
        annotations = deployment.metadata.annotations or {}
        if not asks(annotations):
            if made is not None and made.metadata.deletion_timestamp is None:
                await self._client.delete(ours.CANARIES, made.namespace, made.name, uid=made.metadata.uid)
            return None
        wanted = canary_from_annotations(deployment.name, annotations)
        if isinstance(wanted, list):
            self._say(deployment, "; ".join(f"{e.path}: {e.message}" for e in wanted))
            return None
        if not opted_in(annotations):
            self._say(deployment, f"annotations of {names.GROUP} have no effect without {names.PROFILE}, which opts in")
            return None
        self._said.pop(key, None)
        await self._make(deployment, made, wanted)
        return None

    def _made(self, deployment: Deployment) -> ours.Canary | None:
        found = self._caches.canaries.store.by("workload", f"{deployment.namespace}/{deployment.name}")
        return next((c for c in found if c.metadata.label(MADE_BY)), None)

    def _say(self, deployment: Deployment, message: str) -> None:
        """Once for each fault, not at every change of the Deployment."""
        if self._said.get(deployment.key) != message:
            self._said[deployment.key] = message
            self._teller.say(deployment, "InvalidAnnotation", f"{message}. Nothing is held.", warning=True)

    async def _make(self, deployment: Deployment, made: ours.Canary | None, wanted: CanarySpec) -> None:
        if made is None:
            await self._create(deployment, wanted)
        elif made.spec != wanted and made.metadata.deletion_timestamp is None:
            operations = [at_version(made.metadata.resource_version), add(pointer("spec"), msgspec.to_builtins(wanted))]
            await self._client.json_patch(ours.CANARIES, made.namespace, made.name, operations)

    async def _create(self, deployment: Deployment, spec: CanarySpec) -> None:
        meta = ObjectMeta(name=deployment.name, namespace=deployment.namespace)
        watched = self._resolver.observes(ours.Canary(metadata=meta, spec=spec))
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name, "uid": deployment.metadata.uid}
        body = {
            "metadata": {
                "name": deployment.name,
                "namespace": deployment.namespace,
                "labels": {MADE_BY: "true"},
                "ownerReferences": [owner],
                "finalizers": [] if watched else [names.FINALIZER],
            },
            "spec": msgspec.to_builtins(spec),
        }
        try:
            await self._client.create(ours.CANARIES, deployment.namespace, body)
        except errors.AlreadyExists:
            live = self._caches.canaries.store.get(deployment.namespace, deployment.name)
            if live is not None and not live.metadata.label(MADE_BY):
                self._say(
                    deployment,
                    f"Canary {deployment.name} exists already and is not made from annotations: edit it, or remove the annotations",
                )


def asks(annotations: Mapping[str, str]) -> bool:
    """Whether any annotation is, or wants to be, one of ours that says how to release."""
    own = (names.CANARY_MARK, names.HELD_MARK, names.AUTHOR_MARK, names.HOLD)
    return any(key.startswith(f"{names.GROUP}/") and key not in own for key in annotations)
