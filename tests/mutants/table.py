"""docs/reference/judge-rules.md, from the mutants: a rule of the judge is held by tests that were seen to fail without it, or it is not listed.

python -m tests.mutants.table      # writes it
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.mutants.catalogue import MUTANTS, Mutant

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "judge-rules.md"
RULES: Final = {
    1: "the split is tested against a band, settled and per weight; a canary without requests is seen",
    2: "good news is capped, comes from calm ticks alone, and has to go on",
    3: "few pods widen what is tolerated, and it is said",
    4: "outcomes that come late, and of which fewer are worse",
    5: "counters become increments on one grid: births, resets, gaps, sums, bounds",
    6: "ticks are final, in order and kept, so that a verdict can be given again",
    7: "what hurts both arms after a climb is taken off without blame",
    8: "a switch without a control is compared with the time before",
    9: "a declared limit without a baseline, and the watch after a promotion",
    10: "selected and mirrored requests prove nothing",
    11: "several rollouts are one bet",
    12: "messages that come again are clumped",
    13: "a bake before the promotion",
    14: "usage by the request, in blocks",
    15: "options are frozen",
    16: "the plan before the start is right",
    17: "a service judged against itself",
}
HEAD: Final = """# The judge's rules, each broken once

Made by `python -m tests.mutants.table` from `tests/mutants`. Each fault was put into shipped code, and the test beside it went red;
`make mutants ARGS="--only NAME"` does it again. [The judge](judge.md) says where a rule is and what it promises.

"""
_RULE: Final = re.compile(r"judge rule (\d+): (.+)")
_BESIDE: Final = "judge: "


def by_rule() -> dict[int, list[tuple[str, Mutant]]]:
    """Of each rule: what of it is broken, and the mutant that does it."""
    found: dict[int, list[tuple[str, Mutant]]] = {number: [] for number in RULES}
    for mutant in MUTANTS:
        named = _RULE.fullmatch(mutant.protects)
        if named:
            found[int(named[1])].append((named[2], mutant))
    return found


def page() -> str:
    lines = [HEAD.rstrip("\n")]
    for number, broken in by_rule().items():
        lines += ["", f"## {number}: {RULES[number]}", "", *_table(broken)]
    beside = [(m.protects.removeprefix(_BESIDE), m) for m in MUTANTS if m.protects.startswith(_BESIDE)]
    return "\n".join([*lines, "", "## Beside the rules", "", *_table(beside)]) + "\n"


def _table(broken: Iterable[tuple[str, Mutant]]) -> list[str]:
    rows = (f"| {what} | `{m.name}` | `{m.test.rpartition('/')[2]}` |" for what, m in broken)
    return ["| what | fault | test that goes red |", "|---|---|---|", *rows]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
