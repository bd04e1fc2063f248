"""Finding profiles, sources and notifiers by name: the Canary's namespace first, then the one catalogue namespace.

In the catalogue only objects that admit the namespace (and, for a FlagSource, the flag) are found: a tenant does not get the
platform's token by naming it, and nothing falls through to a third place.
"""

import difflib
from collections.abc import Iterable
from typing import TypeVar

from daemon.api.sources import admits_flag, admits_namespace, flags_namespace
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.kube.informer import Informer
from daemon.rollout.model import Problem

Catalogued = TypeVar("Catalogued", ours.Profile, ours.MetricSource, ours.FlagSource, ours.Notifier, ours.AnalysisTemplate)


class Catalogue:
    def __init__(self, caches: Caches, namespace: str) -> None:
        self._caches = caches
        self.namespace = namespace

    @property
    def jobs(self) -> bool:
        """Whether Jobs may be made at all."""
        return self._caches.jobs is not None

    def profile(self, namespace: str, name: str) -> ours.Profile | Problem:
        return self._find(self._caches.profiles, namespace, name)

    def metric_source(self, namespace: str, name: str) -> ours.MetricSource | Problem:
        return self._find(self._caches.metric_sources, namespace, name)

    def template(self, namespace: str, name: str) -> ours.AnalysisTemplate | Problem:
        return self._find(self._caches.templates, namespace, name)

    def notifier(self, namespace: str, name: str) -> ours.Notifier | Problem:
        return self._find(self._caches.notifiers, namespace, name)

    def flag_source(self, namespace: str, name: str, key: str) -> ours.FlagSource | Problem:
        """The source, if it may move this flag, and may write where it says."""
        found = self._find(self._caches.flag_sources, namespace, name)
        if isinstance(found, Problem):
            return found
        if not admits_flag(found.spec.allowed_flags, key):
            return Problem(
                reason="FlagNotAllowed",
                message=f"FlagSource {name} does not allow flag {key}",
                way_out="add it to spec.allowedFlags",
                unhold=True,
            )
        if flags_namespace(found.spec, source_namespace=found.namespace, catalogue=self.namespace) is None:
            return Problem(
                reason="FlagSourceForeign",
                message=f"FlagSource {found.namespace}/{name} names an object of another namespace",
                way_out=f"only a FlagSource in {self.namespace} may do that",
                unhold=True,
            )
        return found

    def _find(self, informer: Informer[Catalogued], namespace: str, name: str) -> Catalogued | Problem:
        kind = informer.resource.kind
        own = informer.store.get(namespace, name)
        if own is not None:
            return own
        shared = informer.store.get(self.namespace, name)
        if shared is not None and admits_namespace(shared.spec.allowed_namespaces, namespace):
            return shared
        if shared is not None:
            message = f"{kind} {name} in {self.namespace} does not admit namespace {namespace}"
            return Problem(
                reason=f"{kind}NotAdmitted", message=message, way_out="add the namespace to its spec.allowedNamespaces", unhold=True
            )
        known = sorted(self._visible(informer, namespace))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"
        message = f"{kind} {name} exists neither in {namespace} nor in {self.namespace}"
        return Problem(reason=f"{kind}Missing", message=message, way_out=hint, unhold=True)

    def _visible(self, informer: Informer[Catalogued], namespace: str) -> Iterable[str]:
        for item in informer.store:
            if item.namespace == namespace or (
                item.namespace == self.namespace and admits_namespace(item.spec.allowed_namespaces, namespace)
            ):
                yield item.name
