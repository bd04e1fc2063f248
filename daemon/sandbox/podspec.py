"""What a pod's spec means for a local process: its environment, its files, its command.

Pure but for reading ConfigMaps and Secrets through a function that is passed in. A process has no mount namespace, so a mount path in
an environment value or an argument is pointed at the directory that stands for the volume.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from daemon.sandbox.controllers.access import CONFIGMAPS, SECRETS
from daemon.sandbox.controllers.objects import Object, annotations_of, labels_of, meta, name_of, namespace_of, status_of, uid_of

Lookup = Callable[[str, str], Object | None]

_KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")
_VARIABLE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")


class ConfigError(Exception):
    """A container that cannot be started as written; `reason` is the waiting reason that kubectl shows."""

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Image:
    """What stands for an image: the local command of every image whose name matches, and what was baked into it.

    `{tag}` in the command is the image's tag, `{python}` the interpreter of this process.
    """

    name: str
    entrypoint: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def find_image(images: tuple[Image, ...], name: str) -> Image | None:
    """The first entry whose pattern matches; a name without a tag has the tag `latest`."""
    full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    return next((image for image in images if fnmatchcase(full, image.name)), None)


def tag_of(image: str) -> str:
    last = image.rpartition("/")[2]
    return last.partition(":")[2] or "latest"


def field_value(pod: Object, path: str) -> str:
    """One field by the downward API."""
    keyed = _KEYED.match(path)
    if keyed is not None:
        values = labels_of(pod) if keyed[1] == "labels" else annotations_of(pod)
        return values.get(keyed[2], "")
    simple: dict[str, Callable[[], Any]] = {
        "metadata.name": lambda: name_of(pod),
        "metadata.namespace": lambda: namespace_of(pod),
        "metadata.uid": lambda: uid_of(pod),
        "metadata.labels": lambda: _pairs(labels_of(pod)),
        "metadata.annotations": lambda: _pairs(annotations_of(pod)),
        "spec.nodeName": lambda: pod["spec"].get("nodeName"),
        "spec.serviceAccountName": lambda: pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": lambda: status_of(pod).get("podIP"),
        "status.podIPs": lambda: status_of(pod).get("podIP"),
        "status.hostIP": lambda: status_of(pod).get("hostIP"),
        "status.hostIPs": lambda: status_of(pod).get("hostIP"),
    }
    if path not in simple:
        raise ConfigError(
            f'fieldRef "{path}" is not simulated; the sandbox knows {", ".join(sorted(simple))} and single labels and annotations'
        )
    return str(simple[path]() or "")


def _pairs(values: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))


def environment(pod: Object, container: Object, base: Mapping[str, str], lookup: Lookup) -> dict[str, str]:
    """The container's variables on top of `base`, later ones able to use earlier ones as $(NAME)."""
    found = dict(base)
    for source in container.get("envFrom") or ():
        found.update(_env_from(source, lookup))
    for entry in container.get("env") or ():
        if entry.get("valueFrom"):
            value = _value_from(pod, entry["valueFrom"], lookup)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", found)
        found[entry["name"]] = value
    return found


def _env_from(source: Object, lookup: Lookup) -> dict[str, str]:
    for field_name, resource in (("configMapRef", CONFIGMAPS), ("secretRef", SECRETS)):
        ref = source.get(field_name)
        if ref is not None:
            prefix = source.get("prefix") or ""
            return {prefix + k: v.decode(errors="replace") for k, v in _content(resource, ref, lookup).items()}
    return {}


def _value_from(pod: Object, source: Object, lookup: Lookup) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    for field_name, resource in (("configMapKeyRef", CONFIGMAPS), ("secretKeyRef", SECRETS)):
        ref = source.get(field_name)
        if ref is None:
            continue
        content = _content(resource, ref, lookup)
        if ref["key"] in content:
            return content[ref["key"]].decode(errors="replace")
        if ref.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {ref['key']} in {_kind(resource)} {namespace_of(pod)}/{ref['name']}")
    raise ConfigError(f"valueFrom of kind {', '.join(source) or 'nothing'} is not simulated; use fieldRef, configMapKeyRef or secretKeyRef")


def _kind(resource: str) -> str:
    return "ConfigMap" if resource == CONFIGMAPS else "Secret"


def _content(resource: str, ref: Object, lookup: Lookup) -> dict[str, bytes]:
    name = ref.get("name") or ref.get("secretName") or ""
    obj = lookup(resource, name)
    if obj is None:
        if ref.get("optional"):
            return {}
        raise ConfigError(f'{_kind(resource).lower()} "{name}" not found')
    return content_of(resource, obj)


def content_of(resource: str, obj: Object) -> dict[str, bytes]:
    """The files in a ConfigMap or a Secret."""
    if resource == SECRETS:
        return {k: base64.b64decode(v) for k, v in (obj.get("data") or {}).items()}
    plain = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
    return plain | {k: base64.b64decode(v) for k, v in (obj.get("binaryData") or {}).items()}


def expand(text: str, env: Mapping[str, str]) -> str:
    """$(NAME) becomes the value where there is one, $$ a dollar sign, the rest stays."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else env.get(match[2], match[0])

    return _VARIABLE.sub(value, text)


def volume_files(pod: Object, volume: Object, lookup: Lookup) -> dict[str, bytes] | None:
    """The files of a projected volume, None for a plain empty directory."""
    if "emptyDir" in volume:
        return None
    if "configMap" in volume:
        return _picked(CONFIGMAPS, volume["configMap"], lookup)
    if "secret" in volume:
        return _picked(SECRETS, volume["secret"], lookup)
    if "downwardAPI" in volume:
        return _downward(pod, volume["downwardAPI"])
    if "projected" in volume:
        files: dict[str, bytes] = {}
        for source in volume["projected"].get("sources") or ():
            files |= volume_files(pod, source, lookup) or {}
        return files
    kinds = ", ".join(k for k in volume if k != "name")
    raise ConfigError(
        f'volume "{volume.get("name", "")}" of kind {kinds} is not simulated; use configMap, secret, downwardAPI, projected or emptyDir'
    )


def _picked(resource: str, ref: Object, lookup: Lookup) -> dict[str, bytes]:
    content, items = _content(resource, ref, lookup), ref.get("items")
    if not items:
        return content
    missing = [item["key"] for item in items if item["key"] not in content]
    if missing and not ref.get("optional"):
        raise ConfigError(f"references non-existent {_kind(resource).lower()} key: {missing[0]}")
    return {item["path"]: content[item["key"]] for item in items if item["key"] in content}


def _downward(pod: Object, source: Object) -> dict[str, bytes]:
    return {
        item["path"]: field_value(pod, (item.get("fieldRef") or {}).get("fieldPath", "")).encode() for item in source.get("items") or ()
    }


def needs(pod: Object) -> set[tuple[str, str]]:
    """The ConfigMaps and Secrets whose change must reach the pod's volumes."""
    found: set[tuple[str, str]] = set()
    volumes = pod["spec"].get("volumes") or []
    sources = [s for v in volumes for s in ((v.get("projected") or {}).get("sources") or [v])]
    for source in sources:
        if "configMap" in source:
            found.add((CONFIGMAPS, source["configMap"].get("name", "")))
        if "secret" in source:
            found.add((SECRETS, source["secret"].get("secretName") or source["secret"].get("name", "")))
    return found


def repoint(text: str, mounts: Mapping[str, str]) -> str:
    """Point a text that starts with a mount path, or a `--flag=` with one, at the volume's directory."""
    head, _, tail = text.rpartition("=") if text.startswith("-") else ("", "", text)
    for path, directory in sorted(mounts.items(), key=lambda pair: -len(pair[0])):
        if tail == path or tail.startswith(path.rstrip("/") + "/"):
            moved = directory + tail[len(path.rstrip("/")) :]
            return f"{head}={moved}" if head else moved
    return text


def command(image: Image, container: Object, env: Mapping[str, str], mounts: Mapping[str, str], python: str) -> list[str]:
    """The argument vector: the image's entry point unless `command` replaces it, then `args`."""
    name = container["image"]
    own = [part.replace("{tag}", tag_of(name)).replace("{python}", python) for part in image.entrypoint]
    words = [*(container.get("command") or own), *(container.get("args") or [])]
    return [repoint(expand(word, env), mounts) for word in words]


def port_number(container: Object, port: int | str) -> int:
    """A probe's port: a number, or the name of one of the container's ports."""
    if isinstance(port, int):
        return port
    for offered in container.get("ports") or ():
        if offered.get("name") == port:
            return int(offered["containerPort"])
    if port.isdecimal():
        return int(port)
    raise ConfigError(f"couldn't find port: {port!r} in container {container['name']}")


def grace_of(pod: Object) -> float:
    """Seconds a pod that is being deleted may take."""
    given = meta(pod).get("deletionGracePeriodSeconds")
    if given is None:
        given = pod["spec"].get("terminationGracePeriodSeconds")
    return float(30 if given is None else given)
