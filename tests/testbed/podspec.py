"""What a Pod's spec means: environment, argv and the files of its volumes, as a kubelet computes them.

Pure but for `project`, which writes files the way a kubelet does: into a new folder, then one link is swapped (`..data`), so a
reader sees the old set of files or the new one and never half of each.
"""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Object = Mapping[str, Any]


class NotReadyError(RuntimeError):
    """Something the Pod refers to does not exist (yet); `reason` is the kubelet's word for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Sources:
    """ConfigMaps and Secrets by namespace and name, as the agent's watches last saw them."""

    def __init__(self) -> None:
        self.configmaps: dict[tuple[str, str], Object] = {}
        self.secrets: dict[tuple[str, str], Object] = {}

    def configmap(self, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes] | None:
        found = self.configmaps.get((namespace, name))
        if found is None:
            _absent("ConfigMap", namespace, name, optional)
            return None
        texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return texts | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}

    def secret(self, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes] | None:
        found = self.secrets.get((namespace, name))
        if found is None:
            _absent("Secret", namespace, name, optional)
            return None
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


def _absent(kind: str, namespace: str, name: str, optional: bool) -> None:
    if not optional:
        raise NotReadyError("CreateContainerConfigError", f"{kind} {namespace}/{name} not found")


def field(pod: Object, path: str, ip: str) -> str:
    """The value of a downward API `fieldPath`."""
    meta = pod["metadata"]
    found = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if found:
        return str((meta.get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{key}="{value}"' for key, value in sorted((meta.get(path.split(".")[1]) or {}).items()))
    plain = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.podIP": ip,
        "status.podIPs": ip,
        "status.hostIP": "10.99.0.1",
    }
    if path not in plain:
        raise NotReadyError("CreateContainerConfigError", f"unsupported fieldPath {path!r}")
    return str(plain[path])


def _value_from(source: Object, pod: Object, sources: Sources, ip: str) -> str | None:
    namespace = pod["metadata"]["namespace"]
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], ip)
    if "resourceFieldRef" in source:
        return "0"
    for kind, read in (("configMapKeyRef", sources.configmap), ("secretKeyRef", sources.secret)):
        if kind not in source:
            continue
        ref = source[kind]
        optional = bool(ref.get("optional"))
        data = read(namespace, ref["name"], optional=optional)
        if data is not None and ref["key"] in data:
            return data[ref["key"]].decode()
        if not optional:
            raise NotReadyError("CreateContainerConfigError", f"couldn't find key {ref['key']} in {ref['name']}")
        return None
    raise NotReadyError("CreateContainerConfigError", f"unsupported valueFrom {sorted(source)}")


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: unknown names stay, `$$(NAME)` is an escape."""
    return re.sub(
        r"\$(\$\([A-Za-z0-9_.-]+\))|\$\(([A-Za-z0-9_.-]+)\)",
        lambda found: found[1] if found[1] is not None else env.get(found[2], found[0]),
        text,
    )


def environment(container: Object, pod: Object, sources: Sources, ip: str) -> dict[str, str]:
    """The variables a container's `envFrom` and `env` ask for."""
    namespace = pod["metadata"]["namespace"]
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for kind, read in (("configMapRef", sources.configmap), ("secretRef", sources.secret)):
            if kind in source:
                data = read(namespace, source[kind]["name"], optional=bool(source[kind].get("optional"))) or {}
                result.update({source.get("prefix", "") + key: value.decode() for key, value in data.items()})
    for variable in container.get("env") or []:
        if "valueFrom" in variable:
            value = _value_from(variable["valueFrom"], pod, sources, ip)
            if value is not None:
                result[variable["name"]] = value
        else:
            result[variable["name"]] = expand(variable.get("value", ""), result)
    return result


def _picked(data: Mapping[str, bytes] | None, source: Object) -> dict[str, bytes]:
    if data is None:
        return {}
    items = source.get("items")
    if not items:
        return dict(data)
    missing = [item["key"] for item in items if item["key"] not in data and not source.get("optional")]
    if missing:
        raise NotReadyError("ContainerCreating", f"references non-existent key: {missing[0]}")
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}


def volume_files(volume: Object, pod: Object, sources: Sources, ip: str, tokens: Mapping[str, bytes]) -> dict[str, bytes] | None:
    """Path -> content of a volume made from objects; None for one that is only a folder. `tokens`: path -> issued token."""
    namespace = pod["metadata"]["namespace"]
    if "configMap" in volume:
        source = volume["configMap"]
        return _picked(sources.configmap(namespace, source["name"], optional=bool(source.get("optional"))), source)
    if "secret" in volume:
        source = volume["secret"]
        name = source.get("secretName") or source["name"]
        return _picked(sources.secret(namespace, name, optional=bool(source.get("optional"))), source)
    if "downwardAPI" in volume:
        return {item["path"]: field(pod, item["fieldRef"]["fieldPath"], ip).encode() for item in volume["downwardAPI"].get("items") or []}
    if "projected" in volume:
        result: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            if "serviceAccountToken" in source:
                path = source["serviceAccountToken"]["path"]
                result[path] = tokens.get(path, b"")
            else:
                result.update(volume_files(source, pod, sources, ip, tokens) or {})
        return result
    return None


def project(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Makes the volume's folder show exactly these files; False if it already did."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    if data.exists():
        present = {str(path.relative_to(data.resolve())): path.read_bytes() for path in data.resolve().rglob("*") if path.is_file()}
        if present == dict(files):
            return False
    old = data.resolve() if data.exists() else None
    new = folder / f"..{time.time_ns()}"
    for path, content in files.items():
        target = new / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    new.mkdir(exist_ok=True)
    link = folder / "..data_tmp"
    link.symlink_to(new.name)
    link.replace(data)
    tops = {path.split("/")[0] for path in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True
