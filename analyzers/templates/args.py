"""`{{args.name}}` in the texts of a metric, put in once: what a value contains is never read as a placeholder again.

Secrets are values like others here, except that whatever is shown later has them blotted out.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from analyzers.templates.errors import ArgError

_PLACE: Final = re.compile(r"\{\{\s*args\.([A-Za-z0-9_.-]+)\s*\}\}")
_STRANGE: Final = re.compile(r"\{\{\s*([^}]*?)\s*\}\}")
BLOT: Final = "***"
SHORT: Final = 4  # a secret of fewer characters would blot out half of every message


def used(value: Any) -> set[str]:
    """Names of the args that the texts of `value` mention."""
    return {name for text in _texts(value) for name in _PLACE.findall(text)}


def strange(value: Any) -> Iterator[str]:
    """Placeholders that are none of ours, such as Helm's or a misspelt `arg.`."""
    for text in _texts(value):
        yield from (found for found in _STRANGE.findall(text) if not found.startswith("args."))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def fill(value: Any, values: Mapping[str, str]) -> Any:
    """`value` with every placeholder replaced; ArgError for one without a value."""
    if isinstance(value, str):
        return _PLACE.sub(lambda place: _known(place.group(1), values), value)
    if isinstance(value, Mapping):
        return {key: fill(entry, values) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [fill(entry, values) for entry in value]
    return value


def _known(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise ArgError(f"arg {name!r} has no value: {_there_are(name, values)}")
    return values[name]


def _there_are(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"


def undeclared(declared: Collection[str], metrics: Any) -> list[str]:
    """What a template's own texts ask for and its `args` do not declare."""
    found = [
        f"uses {{{{args.{name}}}}}, which spec.args does not declare: {_there_are(name, declared)}"
        for name in sorted(used(metrics) - set(declared))
    ]
    found += [
        f"contains {{{{{text}}}}}: only {{{{args.NAME}}}} is filled in; escape what another tool should read" for text in strange(metrics)
    ]
    return found


def mismatched(template: str, declared: Mapping[str, bool], given: Iterable[str]) -> list[str]:
    """What is wrong between a template's args (name to whether it has a value of its own) and those that a release gives it."""
    filled = list(given)
    found = [
        f"template {template} has no arg {name!r}: {_there_are(name, declared)} (spec.args of the template declares them)"
        for name in filled
        if name not in declared
    ]
    missing = [name for name, valued in declared.items() if not valued and name not in filled]
    found += [f"arg {name!r} of template {template} has no value: give it one in `args`, or a default in the template" for name in missing]
    return found


def blot(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of the secrets, longest first, so that one within another leaves nothing behind."""
    for secret in sorted((s for s in secrets if len(s) >= SHORT), key=len, reverse=True):
        text = text.replace(secret, BLOT)
    return text


def whole_number(value: int | str, field: str, *, least: int = 0) -> int:
    """A count or limit, which may have come from an arg."""
    try:
        found = int(value)
    except ValueError:
        raise ArgError(f"{field} is {value!r}, not a whole number") from None
    if found < least or found > 10_000:
        raise ArgError(f"{field} is {found}: it must be between {least} and 10000")
    return found
