"""The short form: a handful of annotations on an ordinary Deployment, turned into the spec of a Canary.

What is misspelt must be said at once and must never hold a Deployment: the result is a spec or everything that is wrong,
each with the nearest right word.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

from daemon.api import names
from daemon.api.canary import CanarySpec, Dwell, Flag, NotifyRoute, ServiceRef, Step, Traffic, WorkloadRef
from daemon.api.errors import ApiError, FieldError
from daemon.api.fields import LocalRef
from daemon.api.quantities import parse_duration
from daemon.api.routers import KNOWN, RouteRef
from daemon.api.structure import nearest
from daemon.api.validation import validate

_OURS: Final = (
    names.HOLD,
    names.CANARY_MARK,
    names.HELD_MARK,
    names.AUTHOR_MARK,
)  # may stand on a Deployment, but say nothing about how to release
_KNOWN: Final = (*names.OPT_IN_ANNOTATIONS, names.HOLD)
_FLAG_KEY: Final = re.compile(r"[A-Za-z0-9_.~-]{1,200}")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_STEP: Final = re.compile(r"(?P<weight>[0-9]{1,3})(?::(?P<dwell>[0-9a-z]+))?")
_LIMITS: Final = {names.STEPS: 32, names.FLAGS: 8, names.NOTIFY: 8, names.ROUTE: 8}


def opted_in(annotations: Mapping[str, str]) -> bool:
    """Does the owner of a Deployment with these annotations want it released by Linnet?"""
    return names.PROFILE in annotations


def canary_from_annotations(deployment: str, annotations: Mapping[str, str]) -> CanarySpec | list[FieldError]:
    """The spec that the annotations ask for, or everything that is wrong with them."""
    reader = _Reader(annotations)
    reader.check_keys()
    spec = CanarySpec(
        workload_ref=WorkloadRef(name=deployment, api_version="apps/v1", kind="Deployment"),
        profile_ref=reader.profile(),
        mode=reader.mode(),
        traffic=reader.traffic(),
        steps=reader.steps() or None,
        flags=reader.flags() or None,
        notify=[NotifyRoute(notifier_ref=LocalRef(name=name)) for name in reader.object_names(names.NOTIFY)] or None,
    )
    if len(deployment) > names.NAME_LIMIT:
        text = f"has {len(deployment)} characters, more than {names.NAME_LIMIT}: its Canary's name becomes a label; choose a shorter name"
        reader.errors.append(FieldError(path="metadata.name", reason="InvalidValue", value=deployment, message=text))
    return reader.errors or _at_annotations(validate(spec)) or spec


def _at_annotations(errors: list[FieldError]) -> list[FieldError]:
    """Errors of the spec, told where the author wrote it."""
    places = {
        "spec.mode": names.MODE,
        "spec.steps": names.STEPS,
        "spec.flags": names.FLAGS,
        "spec.notify": names.NOTIFY,
        "spec.traffic.serviceRef": names.SERVICE,
    }
    found = []
    for error in errors:
        key = next((key for prefix, key in places.items() if error.path.startswith(prefix)), None)
        path = _path(key) if key else error.path
        found.append(FieldError(path=path, reason=error.reason, value=error.value, message=f"{error.path}: {error.message}"))
    return found


def _path(key: str) -> str:
    return f"metadata.annotations[{key}]"


class _Reader:
    """Reads one annotation after the other and collects what is wrong."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.annotations = annotations
        self.errors: list[FieldError] = []

    def wrong(self, key: str, value: str | None, message: str, reason: str = "InvalidValue") -> None:
        self.errors.append(FieldError(path=_path(key), reason=reason, value=value, message=message))

    def check_keys(self) -> None:
        """Every key under our group must be one we know: a misspelt one would silently do nothing."""
        for key in self.annotations:
            if not key.startswith(f"{names.GROUP}/") or key in (*_KNOWN, *_OURS):
                continue
            if key == names.ACTION:
                self.wrong(key, self.annotations[key], "actions are written on the Canary, not on the Deployment", "UnknownAnnotation")
                continue
            near = nearest(key, list(_KNOWN))
            way_out = f"did you mean {near}?" if near else f"there are {', '.join(_KNOWN)}"
            self.wrong(key, self.annotations[key], f"unknown annotation; {way_out}", "UnknownAnnotation")

    def entries(self, key: str) -> list[str]:
        """The comma-separated entries of an annotation; empty ones and too many are wrong."""
        text = self.annotations.get(key)
        if text is None:
            return []
        found = [entry.strip() for entry in text.split(",")]
        if not all(found):
            self.wrong(key, text, f"{text!r} has an empty entry: write a list such as {_EXAMPLES[key]}")
        if len(found) > _LIMITS[key]:
            self.wrong(key, text, f"has {len(found)} entries, more than {_LIMITS[key]}")
        return [entry for entry in found if entry]

    def profile(self) -> LocalRef | None:
        name = self.annotations.get(names.PROFILE)
        if name is None:
            self.wrong(names.PROFILE, None, "is missing: it opts in and names a CanaryProfile, such as web", "Required")
            return None
        return LocalRef(name=name) if self._is_object_name(names.PROFILE, name) else None

    def mode(self) -> Literal["Enforce", "Observe"] | None:
        text = self.annotations.get(names.MODE)
        if text in (None, "Enforce", "Observe"):
            return "Observe" if text == "Observe" else "Enforce" if text else None
        near = nearest(text, ["Enforce", "Observe"])
        self.wrong(names.MODE, text, f"{text!r} is no mode; {f'did you mean {near}?' if near else 'there are Enforce and Observe'}")
        return None

    def object_names(self, key: str) -> list[str]:
        return [entry for entry in self.entries(key) if self._is_object_name(key, entry)]

    def _is_object_name(self, key: str, name: str) -> bool:
        if _OBJECT_NAME.fullmatch(name):
            return True
        self.wrong(key, name, f"{name!r} is not the name of an object: lower-case letters, digits, '-' and '.', such as {_EXAMPLES[key]}")
        return False

    def steps(self) -> list[Step]:
        return [step for entry in self.entries(names.STEPS) if (step := self._step(entry)) is not None]

    def _step(self, entry: str) -> Step | None:
        found = _STEP.fullmatch(entry)
        if found is None or int(found["weight"]) > 100:
            text = f"{entry!r} is not a step: a weight from 0 to 100, or weight:time, such as {_EXAMPLES[names.STEPS]}"
            self.wrong(names.STEPS, entry, text)
            return None
        dwell = found["dwell"]
        if dwell is not None:
            try:
                parse_duration(dwell)
            except ApiError as error:
                self.wrong(names.STEPS, entry, str(error), error.reason)
                return None
        return Step(weight=int(found["weight"]), dwell=Dwell(min_duration=dwell) if dwell else None)

    def flags(self) -> list[Flag]:
        found: list[Flag] = []
        for key in self.entries(names.FLAGS):
            if not _FLAG_KEY.fullmatch(key):
                self.wrong(names.FLAGS, key, f"{key!r} is not a flag's key: letters, digits and any of _ . ~ -")
                continue
            alias = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[: names.NAME_LIMIT].strip("-") or f"flag-{len(found) + 1}"
            if any(flag.name == alias for flag in found):
                self.wrong(names.FLAGS, key, f"{key!r} is there twice, or differs from another flag only by case or punctuation")
                continue
            found.append(Flag(name=alias, key=key))
        return found

    def traffic(self) -> Traffic | None:
        routes, service = self._routes(), self._service()
        return Traffic(routes=routes or None, service_ref=service) if routes or service else None

    def _routes(self) -> list[RouteRef]:
        return [found for entry in self.entries(names.ROUTE) if (found := self._route(entry)) is not None]

    def _route(self, entry: str) -> RouteRef | None:
        kind, slash, name = entry.partition("/")
        known = next((k for k in KNOWN if kind.lower() in (k.lower(), _plural(k.lower()))), None)
        if not slash or known is None or not _OBJECT_NAME.fullmatch(name):
            kinds = ", ".join(KNOWN)
            text = (
                f"{entry!r} is not a route that this version moves ({kinds}): write {_EXAMPLES[names.ROUTE]}, or a Canary for other kinds"
            )
            self.wrong(names.ROUTE, entry, text)
            return None
        return RouteRef(name=name, kind=known, group=KNOWN[known])

    def _service(self) -> ServiceRef | None:
        text = self.annotations.get(names.SERVICE)
        if text is None:
            return None
        name, colon, port = text.partition(":")
        if not names.is_label(name) or (colon and not port):
            self.wrong(names.SERVICE, text, f"{text!r} is not a Service: write name or name:port, such as {_EXAMPLES[names.SERVICE]}")
            return None
        return ServiceRef(name=name, port=int(port) if port.isdigit() else port or None)


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("ss") else f"{kind}s"


_EXAMPLES: Final = {
    names.PROFILE: "web",
    names.MODE: "Observe",
    names.STEPS: '"1,5,25:5m,50"',
    names.FLAGS: "new-checkout,new-search",
    names.ROUTE: "httproute/checkout",
    names.NOTIFY: "slack-payments",
    names.SERVICE: "checkout:http",
}
