"""What one deliberate fault is."""

from __future__ import annotations

import msgspec


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """In `path` the text `old`, which is there once, becomes `new`; then `test` (a pytest node) must fail.

    `protects` names what is lost: a promise of the design (P1 to P10), or the rule in a few words. `hangs`: with the fault the test
    does not end by itself (a loop without a pause in virtual time), so running out of time is how it fails.
    """

    name: str
    protects: str
    path: str
    old: str
    new: str
    test: str
    hangs: bool = False
