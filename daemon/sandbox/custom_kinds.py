"""Why: a CustomResourceDefinition that lands in the store is served at once, and one that goes takes its objects along."""

from daemon.sandbox.crds import CRDS, served_versions
from daemon.sandbox.errors import JSON
from daemon.sandbox.store import Store

_SERVER = "kube-apiserver"
_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


class CustomKinds:
    """Follows the CRDs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.subscribe(self._on_event)

    def _on_event(self, kind: str, resource: str, obj: JSON) -> None:
        if resource != CRDS:
            return
        spec = obj["spec"]
        if kind == "DELETED":
            self._store.registry.remove_custom(spec["group"], spec["names"]["plural"])
            return
        storage = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
        self._store.registry.replace_custom(spec["group"], spec["names"]["plural"], served_versions(obj), storage)
        if obj["metadata"].get("deletionTimestamp"):
            self._clean_up(obj)
        elif not any(c["type"] == "Established" for c in (obj.get("status") or {}).get("conditions") or ()):
            self._establish(obj["metadata"]["name"])

    def _establish(self, name: str) -> None:
        crd = self._store.get(CRDS, "", name)
        if crd is None:
            return
        now = self._store.now()

        def condition(kind: str, reason: str, message: str) -> JSON:
            return {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}

        crd["status"] = {
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "acceptedNames": crd["spec"]["names"],
            "storedVersions": [v["name"] for v in crd["spec"]["versions"] if v.get("storage")],
        }
        self._store.update(CRDS, crd, user=_SERVER, subresource="status")

    def _clean_up(self, crd: JSON) -> None:
        spec = crd["spec"]
        key = f"{spec['names']['plural']}.{spec['group']}"
        for ns, name in list(self._store.state(key)):
            self._store.delete(key, ns, name, user=_SERVER)
        if not self._store.state(key):
            live = self._store.get(CRDS, "", crd["metadata"]["name"])
            if live is not None and _CLEANUP in (live["metadata"].get("finalizers") or ()):
                live["metadata"]["finalizers"].remove(_CLEANUP)
                self._store.update(CRDS, live, user=_SERVER)
