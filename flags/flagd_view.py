"""One object read as "this flag and what is ours about it", and the JSON Patches that change it.

Pure: an object in, values and operations out. The provider beside it does the calls.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from flags import splice
from flags.errors import Invalid, Missing
from flags.flagd_owners import identity, subtree
from flags.flagd_places import Operation, Place, pointer
from flags.flagd_rules import Targeting, Variants, desired_of, evaluator_name, targeting_of, variants_of
from flags.model import Desired, FlagRef

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """What was found before the first write. `owners` are the managers of the data key, to be given back at the end."""

    targeting: str | None
    rule: str | None
    evaluators: bool
    annotations: bool
    sha256: str
    owners: tuple[dict[str, str], ...]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A flag in its file. `rule` is our evaluator as found, `wrote` what it means if it is ours to the letter."""

    place: Place
    key: str
    text: str
    revision: str
    mark: str | None
    annotations: int
    enabled: bool
    variants: Variants
    targeting: Targeting
    rule: Any
    wrote: Desired | None
    managed: tuple[dict[str, Any], ...]

    @property
    def where(self) -> str:
        return self.place.where


def annotation_for(key: str) -> str:
    """Where the owner of a flag is marked. Keys that an annotation cannot carry are replaced by a digest."""
    name = f"flag.{key}"
    if len(name) > 63 or not _LABEL.fullmatch(name):
        name = f"flag.{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return f"linnet.dev/{name}"


def view(found: Mapping[str, Any], place: Place, key: str) -> View:
    """Read one flag, or say exactly what is missing or wrong on the way to it."""
    metadata = found.get("metadata") or {}
    text = place.text(found)
    document = _document(text, place)
    flag = _flag(document, place, key)
    variants = variants_of(key, flag)
    evaluators = document.get("$evaluators") or {}
    rule = evaluators.get(evaluator_name(key)) if isinstance(evaluators, dict) else None
    annotations = metadata.get("annotations") or {}
    return View(
        place=place,
        key=key,
        text=text,
        revision=str(metadata.get("resourceVersion", "")),
        mark=annotations.get(annotation_for(key)),
        annotations=len(annotations),
        enabled=flag.get("state") == "ENABLED",
        variants=variants,
        targeting=targeting_of(key, flag, variants),
        rule=rule,
        wrote=None if rule is None else desired_of(rule, variants),
        managed=tuple(metadata.get("managedFields") or ()),
    )


def original_of(seen: View) -> str:
    """What `restore` needs, as a small text for the caller's undo log."""
    path = ("$evaluators", evaluator_name(seen.key))
    fields = seen.place.owned(path[-1])
    found = Original(
        targeting=splice.raw(seen.text, ("flags", seen.key, "targeting")),
        rule=splice.raw(seen.text, path),
        evaluators=splice.raw(seen.text, path[:1]) is not None,
        annotations=seen.annotations > 0,
        sha256=digest(seen.text),
        owners=tuple(identity(entry, fields) for entry in seen.managed if subtree(entry, fields) is not None),
    )
    return msgspec.json.encode(found).decode()


def original_from(flag: FlagRef, text: str) -> Original:
    """The inverse of `original_of`."""
    try:
        return msgspec.json.decode(text, type=Original)
    except msgspec.MsgspecError:
        way_out = "Take Linnet's branch out of the flag and remove its evaluator and annotation by hand."
        raise Invalid(field=f"undo log of flag {flag.key}", value=text, problem="it is not what was recorded", way_out=way_out) from None


def digest(text: str) -> str:
    """Tells whether a file is byte for byte what it was."""
    return hashlib.sha256(text.encode()).hexdigest()


def put_rule(text: str, key: str, rule: Any) -> str:
    """The file with our evaluator in it."""
    if splice.raw(text, ("$evaluators",)) is None:
        return splice.put(text, ("$evaluators",), json.dumps({evaluator_name(key): rule}))
    path = ("$evaluators", evaluator_name(key))
    present = splice.raw(text, path)
    if present is not None and json.loads(present) == rule:
        return text
    return splice.put(text, path, json.dumps(rule))


def drop_rule(text: str, key: str, original: Original) -> str:
    """The file with the evaluator that was there before us, or none; an empty `$evaluators` goes if we made it."""
    path = ("$evaluators", evaluator_name(key))
    if original.rule is not None:
        return splice.put(text, path, original.rule)
    text = splice.drop(text, path)
    left = splice.raw(text, path[:1])
    if not original.evaluators and left is not None and json.loads(left) == {}:
        text = splice.drop(text, path[:1])
    return text


def operations(seen: View, text: str, mark: str | None, *, keep_annotations: bool = True) -> list[Operation]:
    """The patch from what was seen to a new text and mark; empty when nothing changes. Fails if anybody wrote in between."""
    changes = seen.place.edits(seen.text, text)
    annotation = pointer("metadata", "annotations", annotation_for(seen.key))
    if mark is not None and mark != seen.mark:
        if not seen.annotations:
            changes.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        changes.append({"op": "add", "path": annotation, "value": mark})
    if mark is None and seen.mark is not None:
        alone = seen.annotations == 1 and not keep_annotations
        changes.append({"op": "remove", "path": "/metadata/annotations" if alone else annotation})
    if not changes:
        return []
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": seen.revision}, *changes]


def writer_of(seen: View) -> str:
    """The manager that last wrote the flags, as the API server remembers it."""
    entries = [entry for entry in seen.managed if subtree(entry, seen.place.written()) is not None]
    return (
        str(max(entries, key=lambda entry: (str(entry.get("time", "")), entry.get("operation") == "Update")).get("manager", "unknown"))
        if entries
        else "unknown"
    )


def _document(text: str, place: Place) -> dict[str, Any]:
    field = f"{place.where} {place.field}"
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except ValueError as problem:
        raise Invalid(
            field=field,
            value=text,
            problem=f"it is not readable JSON ({problem})",
            way_out="Repair the file; Linnet does not write into one it cannot read.",
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise Invalid(
            field=field,
            value=text,
            problem='it has no object "flags"',
            way_out="Use flagd's format: https://flagd.dev/reference/flag-definitions/",
        )
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two equal keys counts, so such a file is not ours to edit."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key occurs twice in the object with the keys {', '.join(found)}")
    return found


def _flag(document: Mapping[str, Any], place: Place, key: str) -> Mapping[str, Any]:
    flags = document["flags"]
    if key not in flags:
        raise Missing(
            f"{place.where} {place.field} has no flag {key!r}; it has {', '.join(sorted(flags)) or 'none'}. Name an existing flag, or add it, off by default."
        )
    flag = flags[key]
    if not isinstance(flag, dict):
        raise Invalid(
            field=f"flags.{key}",
            value=flag,
            problem="it is not an object",
            way_out="Use flagd's format: https://flagd.dev/reference/flag-definitions/",
        )
    return flag
