"""Shops that walk side by side on one ground, and the shortest plan that still breaks a promise."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.walk.ground import Ground
from tests.walk.plan import Plan
from tests.walk.walker import Broken, Walker


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What was broken, by what, and what was written before."""

    plan: Plan
    broken: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.plan}\n" + "\n".join(f"    {line}" for line in self.trace) + f"\n{self.broken}"


async def walk(
    ground: Ground,
    plans: Sequence[Plan],
    ends: Counter[str],
    prefix: str,
    *,
    stop: bool = True,
    tell: Callable[[Failure], None] | None = None,
) -> list[Failure]:
    """Plays all plans at once; with `stop` the first failure ends the others."""
    walkers = [Walker(ground, plan, f"{prefix}-{plan.number}") for plan in plans]
    failures: list[Failure] = []

    async def one(walker: Walker) -> None:
        try:
            await walker.walk()
        except Broken as error:
            plan = walker.plan.only(*walker.done)
            failures.append(Failure(plan=plan, broken=str(error), trace=tuple(walker.seen.trace)))
            if tell is not None:
                tell(failures[-1])
            if stop:
                for task in tasks:
                    if task is not asyncio.current_task():
                        task.cancel()

    tasks = [asyncio.create_task(one(walker)) for walker in walkers]
    try:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for walker in walkers:
            ends.update(walker.ends)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return failures


async def shortest(failure: Failure, again: Callable[[Plan], Awaitable[Failure | None]], tries: int) -> tuple[Failure, int]:
    """The shortest plan found that still fails: the last release alone, then without one of its moves; else fewer of those before it."""
    tried = 0
    found = failure
    shrunk = True
    while shrunk and tries > tried:
        shrunk = False
        for plan in _shorter(found.plan):
            if tried >= tries:
                break
            tried += 1
            worse = await again(plan)
            if worse is not None:
                found, shrunk = worse, True
                break
    return found, tried


def _shorter(plan: Plan) -> Iterator[Plan]:
    *before, last = plan.releases
    if before:
        yield plan.only(last)
        if len(before) > 1:
            yield plan.only(*before[len(before) // 2 :], last)
        return
    for index in range(len(last.moves)):
        yield plan.only(replace(last, moves=last.moves[:index] + last.moves[index + 1 :]))
