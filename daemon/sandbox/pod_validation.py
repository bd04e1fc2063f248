"""Why: pods and pod templates are refused for the common mistakes, and a running pod's spec may hardly change."""

from __future__ import annotations

from typing import Any

from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, FieldError
from daemon.sandbox.names import dns_label, label_key, label_value

_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def check_template(template: JSON, path: str) -> list[FieldError]:
    """What is wrong with a pod template that is to run for good."""
    out: list[FieldError] = []
    for key, value in ((template.get("metadata") or {}).get("labels") or {}).items():
        out += [err.invalid_value(f"{path}.labels", key, why) for why in label_key(key)]
        out += [err.invalid_value(f"{path}.labels", value, why) for why in label_value(value)]
    spec = template.get("spec") or {}
    out += _pod_spec(spec, f"{path}.spec")
    policy = spec.get("restartPolicy")
    if policy in ("Never", "OnFailure"):
        out.append(err.unsupported(f"{path}.spec.restartPolicy", policy, ("Always",)))
    return out


def check_pod(new: JSON, old: JSON | None) -> list[FieldError]:
    out = _pod_spec(new.get("spec") or {}, "spec")
    if old is not None and _frozen(new["spec"], old["spec"]) != _frozen(old["spec"], old["spec"]):
        out.append(err.field_forbidden("spec", _IMMUTABLE))
    return out


def _frozen(spec: JSON, before: JSON) -> JSON:
    free = {"activeDeadlineSeconds", "tolerations"} | (set() if before.get("nodeName") else {"nodeName"})  # binding is an update here
    kept = {k: v for k, v in spec.items() if k not in free}
    for name in ("containers", "initContainers"):
        if name in kept:
            kept[name] = [{k: v for k, v in c.items() if k != "image"} for c in kept[name]]
    return kept


def _pod_spec(spec: JSON, path: str) -> list[FieldError]:
    volumes = [v.get("name", "") for v in spec.get("volumes") or ()]
    out: list[FieldError] = []
    for i, name in enumerate(volumes):
        at = f"{path}.volumes[{i}].name"
        if not name:
            out.append(err.required(at))
        elif dns_label(name):
            out.append(err.invalid_value(at, name, dns_label(name)))
        elif name in volumes[:i]:
            out.append(err.duplicate(at, name))
    if not spec.get("containers"):
        out.append(err.required(f"{path}.containers"))
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(group) or ()):
            out += _container(container, f"{path}.{group}[{i}]", seen, volumes)
    policy = spec.get("restartPolicy")
    if policy not in ("Always", "OnFailure", "Never", None):
        out.append(err.unsupported(f"{path}.restartPolicy", policy, ("Always", "Never", "OnFailure")))
    return out


def _container(container: JSON, path: str, seen: set[str], volumes: list[str]) -> list[FieldError]:
    out: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        out.append(err.required(f"{path}.name"))
    elif dns_label(name):
        out.append(err.invalid_value(f"{path}.name", name, dns_label(name)))
    elif name in seen:
        out.append(err.duplicate(f"{path}.name", name))
    seen.add(name)
    image = container.get("image", "")
    if not image:
        out.append(err.required(f"{path}.image"))
    elif image != image.strip():
        out.append(err.invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in (*_PULL, None):
        out.append(err.unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL))
    out += _ports(container.get("ports") or [], f"{path}.ports")
    for i, env in enumerate(container.get("env") or ()):
        if not env.get("name"):
            out.append(err.required(f"{path}.env[{i}].name"))
        if env.get("value") and env.get("valueFrom"):
            out.append(err.invalid_value(f"{path}.env[{i}].valueFrom", "", "may not be specified when `value` is not empty"))
    out += _mounts(container.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    return out + _resources(container.get("resources") or {}, f"{path}.resources")


def _ports(ports: list[JSON], path: str) -> list[FieldError]:
    out: list[FieldError] = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        name, number = port.get("name"), port.get("containerPort", 0)
        if name:
            if len(name) > 15:
                out.append(err.invalid_value(f"{path}[{i}].name", name, "must be no more than 15 characters"))
            elif name in names:
                out.append(err.duplicate(f"{path}[{i}].name", name))
            names.add(name)
        if not number:
            out.append(err.required(f"{path}[{i}].containerPort"))
        elif not 1 <= number <= 65535:
            out.append(err.invalid_value(f"{path}[{i}].containerPort", number, "must be between 1 and 65535, inclusive"))
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            out.append(err.unsupported(f"{path}[{i}].protocol", port["protocol"], _PROTOCOLS))
    return out


def _mounts(mounts: list[JSON], path: str, volumes: list[str]) -> list[FieldError]:
    out: list[FieldError] = []
    places: set[Any] = set()
    for i, mount in enumerate(mounts):
        name, place = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            out.append(err.required(f"{path}[{i}].name"))
        elif name not in volumes:
            out.append(FieldError(f"{path}[{i}].name", "FieldValueNotFound", f'Not found: "{name}"'))
        if not place:
            out.append(err.required(f"{path}[{i}].mountPath"))
        elif place in places:
            out.append(err.invalid_value(f"{path}[{i}].mountPath", place, "must be unique"))
        places.add(place)
    return out


def _resources(resources: JSON, path: str) -> list[FieldError]:
    from daemon.sandbox.cel_functions import parse_quantity

    out: list[FieldError] = []
    limits = resources.get("limits") or {}
    for name, wanted in (resources.get("requests") or {}).items():
        if name in limits and parse_quantity(wanted) > parse_quantity(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            out.append(err.invalid_value(f"{path}.requests", wanted, why))
    return out
