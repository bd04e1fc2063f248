"""Which flags changed, from LaunchDarkly's audit log: one request for a whole project, however many flags are watched. Pure.

The log is the account's, newest first and at most twenty entries an answer, each with the resources that it is about
(`proj/shop:env/production:flag/new-checkout`). What is new is told by the set of entries that were there the last time: nothing says that
an entry appears in the order of its date. Where more came than an answer holds, or an entry is not understood, any flag may have changed.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from flags.model import Changes

WINDOW: Final = 20  # the most that an answer holds
_PART: Final = re.compile(r"([a-z-]+)/([^:;]+)")
# Of a project, what a flag's evaluation rests on besides the flag; other kinds (members, metrics, experiments) change no flag.
_SHARED: Final = frozenset({"proj", "env", "segment"})


def changes(since: str, entries: Sequence[dict[str, Any]], project: str, environment: str) -> Changes:
    """What the entries say of flags of this project and environment."""
    ids = [str(entry["_id"]) for entry in entries]
    cursor = json.dumps(sorted(ids))
    known = set(json.loads(since)) if since else set()
    if not since or (len(ids) >= WINDOW and not known & set(ids)):
        return Changes(cursor=cursor, everything=True)
    named: set[str] = set()
    for entry, identity in zip(entries, ids, strict=True):
        if identity in known:
            continue
        resources = (entry.get("target") or {}).get("resources")
        if not resources:
            return Changes(cursor=cursor, everything=True)
        for resource in resources:
            key = _flag(str(resource), project, environment)
            if key is None:
                return Changes(cursor=cursor, everything=True)
            named.add(key)
    return Changes(cursor=cursor, flags=frozenset(named - {""}))


def _flag(resource: str, project: str, environment: str) -> str | None:
    """The flag that a resource is; empty where it is none of ours, None where any flag may hang on it."""
    parts = _PART.findall(resource)
    if not parts:
        return None
    where = dict(parts)
    if where.get("proj", project) not in (project, "*") or where.get("env", environment) not in (environment, "*"):
        return ""
    kind, name = parts[-1]
    if kind == "flag":
        return None if "*" in name else str(name)
    return None if kind in _SHARED else ""
