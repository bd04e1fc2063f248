"""What one imported object has to know of the others that were given with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Peers:
    """Everything that was read, by kind and name."""

    def __init__(self, bodies: Iterable[dict[str, Any]]) -> None:
        self._found = {(str(b.get("kind")), str((b.get("metadata") or {}).get("name"))): b for b in bodies}

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self._found.get((kind, name))

    def query_of(self, name: str, namespace: str) -> str | None:
        """The query of a Flagger MetricTemplate; None where it was not given, or is of another namespace."""
        found = self.get("MetricTemplate", name)
        if found is None or (namespace and found["metadata"].get("namespace", namespace) != namespace):
            return None
        return str((found.get("spec") or {}).get("query") or "")

    def labels_of(self, deployment: str) -> dict[str, str] | None:
        """What a Service has to select to reach the pods of a Deployment."""
        spec = (self.get("Deployment", deployment) or {}).get("spec") or {}
        found = (spec.get("selector") or {}).get("matchLabels")
        return {str(k): str(v) for k, v in found.items()} if found else None
