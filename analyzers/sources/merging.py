"""Fewer questions for the same samples: errors are part of their total, and the arms differ in one label.

A tick that asks one query for both arms also sees both at the same moment. The answer is taken apart again here, by the
conditions that were asked for; only conditions that mean the same to the server and to us are taken apart, the others are
asked on their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from analyzers.metrics import Matcher, MatchOp, Selector
from analyzers.series import RawSeries

NAME: Final = "__name__"
_POSITIVE: Final = frozenset({MatchOp.EQUAL, MatchOp.REGEX})
_PLAIN: Final = re.compile(r"(?:[\w./:@,=# -]|\\[-.\\/|+*?()\[\]{}^$@# ]|\[\^?[\w.:@-]+\]|\(\?:|[.|()*+?])*", re.ASCII)
_LOOPS: Final = re.compile(r"(?<!\\)[*+]")
MOST_LOOPS: Final = 3
LONGEST: Final = 4096
"""Characters of one joined condition; Prometheus limits a query to far more, proxies to less."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """One selector to ask, and which of the wanted ones (by position) its answer contains."""

    selector: Selector
    members: tuple[int, ...]


def plain(pattern: str) -> bool:
    """Whether a regular expression means the same here as in RE2, and is matched in a time that nobody can blow up.

    No loop around a group and few loops at all: a tenant writes these, and the daemon's event loop runs them.
    """
    if _PLAIN.fullmatch(pattern) is None or re.search(r"\(\?(?!:)", pattern) or re.search(r"(?<!\\)\)[*+?]", pattern):
        return False
    if re.search(r"(?<!\\)[*+?]{2}", pattern):
        return False
    return len(_LOOPS.findall(pattern)) <= MOST_LOOPS


def separable(selector: Selector) -> bool:
    """Whether we can pick this selector's series out of a wider answer exactly as the server would."""
    return bool(selector.name) and all(m.op not in {MatchOp.REGEX, MatchOp.NOT_REGEX} or plain(m.value) for m in selector.matchers)


def alone(selectors: Sequence[Selector]) -> list[Merged]:
    """Each for itself."""
    return [Merged(selector=s, members=(i,)) for i, s in enumerate(selectors)]


def merge(selectors: Sequence[Selector]) -> list[Merged]:
    """As few questions as give every selector its series: what is contained, then what differs in one label, then in the name."""
    fixed = [Merged(selector=s, members=(i,)) for i, s in enumerate(selectors) if not separable(s)]
    groups: dict[tuple[str, frozenset[Matcher]], list[int]] = {}
    for i, selector in enumerate(selectors):
        if separable(selector):
            groups.setdefault((selector.name, frozenset(selector.matchers)), []).append(i)
    covered = _cover(groups)
    return [*fixed, *_by_name(_by_label(covered))]


def pick(selector: Selector, series: Iterable[RawSeries]) -> tuple[RawSeries, ...]:
    """The series that `selector` alone would have been answered with."""
    return tuple(s for s in series if s.labels.get(NAME) == selector.name and selector.accepts(s.labels))


Group = tuple[str, frozenset[Matcher]]


def _cover(groups: dict[Group, list[int]]) -> list[Merged]:
    """A selector with fewer conditions on the same counter has the series of the one with more."""
    kept: dict[Group, list[int]] = {}
    for key, members in sorted(groups.items(), key=lambda item: (sum(not _presence(m) for m in item[0][1]), len(item[0][1]))):
        wider = next((k for k in kept if k[0] == key[0] and all(_implied(m, key[1]) for m in k[1])), None)
        kept.setdefault(wider or key, []).extend(members)
    return [Merged(selector=Selector(n, _ordered(m)), members=tuple(sorted(i))) for (n, m), i in kept.items()]


def _presence(matcher: Matcher) -> bool:
    return matcher.op is MatchOp.NOT_EQUAL and not matcher.value


def _implied(matcher: Matcher, by: frozenset[Matcher]) -> bool:
    """Whether what meets `by` meets `matcher`: it is among them, or asks only that a label be there that one of them needs."""
    if matcher in by:
        return True
    return _presence(matcher) and any(m.label == matcher.label and m.op in _POSITIVE and not m.accepts({}) for m in by)


def _by_label(merged: list[Merged]) -> list[Merged]:
    """Those that differ in what one label may be (the arms) are asked with both of its values."""
    done: list[Merged] = []
    for one in merged:
        for at, other in enumerate(done):
            joined = _joined(other.selector, one.selector)
            if joined is not None:
                done[at] = Merged(selector=joined, members=tuple(sorted((*other.members, *one.members))))
                break
        else:
            done.append(one)
    return done


def _joined(a: Selector, b: Selector) -> Selector | None:
    only_a, only_b = set(a.matchers) - set(b.matchers), set(b.matchers) - set(a.matchers)
    if a.name != b.name or len(only_a) != 1 or len(only_b) != 1:
        return None
    (left,), (right,) = only_a, only_b
    if left.label != right.label or not {left.op, right.op} <= _POSITIVE:
        return None
    either = Matcher(left.label, MatchOp.REGEX, f"{_pattern(left)}|{_pattern(right)}")
    if len(either.value) > LONGEST:
        return None
    return Selector(a.name, _ordered((set(a.matchers) & set(b.matchers)) | {either}))


def _pattern(matcher: Matcher) -> str:
    return re.escape(matcher.value) if matcher.op is MatchOp.EQUAL else f"(?:{matcher.value})"


def _by_name(merged: list[Merged]) -> list[Merged]:
    """Counters under the same conditions are asked together."""
    groups: dict[frozenset[Matcher], list[Merged]] = {}
    for one in merged:
        groups.setdefault(frozenset(one.selector.matchers), []).append(one)
    found = []
    for group in groups.values():
        names = sorted({one.selector.name for one in group})
        matchers = group[0].selector.matchers
        if len(names) > 1 and matchers and len("|".join(names)) <= LONGEST:
            members = tuple(sorted(i for one in group for i in one.members))
            found.append(Merged(selector=Selector("", (Matcher(NAME, MatchOp.REGEX, "|".join(names)), *matchers)), members=members))
        else:
            found.extend(group)
    return found


def _ordered(matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    return tuple(sorted(matchers, key=lambda m: (m.label, m.op, m.value)))
