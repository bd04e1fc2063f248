"""What comes before what, as tables: the order is the promise (P3), so it is written out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Desired, FlagRef, Gate
from flags.plan import PATIENCE, Driven, Flag, Mode, Stage, Weight, Zero, back, exposure, forward, promote

A, B = FlagRef(key="a", source="s"), FlagRef(key="b", source="t")


def at(percent: int, *, gate: bool = True) -> Desired:
    return Desired(percent=percent, gate=Gate() if gate else None)


def order(stages: tuple[Stage, ...]) -> list[str]:
    """One line for each stage, actions that run together joined by `+`."""
    lines = []
    for stage in stages:
        words = []
        for action in stage.actions:
            what = type(action).__name__.lower()
            flag, desired = getattr(action, "flag", None), getattr(action, "desired", None)
            number = desired.percent if desired else getattr(action, "weight", None)
            gate = "" if desired is None or desired.gate else "!"
            words.append("".join([what, f" {flag.key}" if flag else "", "" if number is None else f" {number}", gate]))
        lines.append(" + ".join(words))
    return lines


@pytest.mark.parametrize(
    ("now", "then", "flags", "expected"),
    [
        (0, 5, [], ["capacity 5", "weight 5", "settled 5"]),
        (0, 5, [Driven(flag=A, then=at(100))], ["capacity 5", "weight 5", "flag a 100", "seen a 100", "settled 5"]),
        (5, 5, [Driven(flag=A, now=at(10), then=at(50))], ["flag a 50", "seen a 50", "settled 5"]),
        (5, 50, [Driven(flag=A, now=at(50), then=at(50))], ["capacity 50", "weight 50", "settled 50"]),
        (5, 50, [Driven(flag=A, now=at(50))], ["capacity 50", "weight 50", "settled 50"]),
        (
            5,
            25,
            [Driven(flag=A, now=at(10), then=at(50)), Driven(flag=B, mode="Aligned", then=at(25))],
            ["capacity 25", "weight 25", "flag a 50 + flag b 25", "seen a 50 + seen b 25", "settled 25"],
        ),
        (
            5,
            25,
            [Driven(flag=A, now=at(50), then=at(10)), Driven(flag=B, now=at(10), then=at(25))],
            ["flag a 10", "capacity 25", "weight 25", "flag b 25", "seen a 10 + seen b 25", "settled 25"],
        ),
    ],
)
def test_forward_capacity_then_weight_then_flags_then_seen_then_settled(
    now: int, then: int, flags: list[Driven], expected: list[str]
) -> None:
    """A rising flag never precedes the code; a falling one never waits for it; samples count last."""
    assert order(forward(weight_now=now, weight_then=then, flags=flags)) == expected


GATED = Driven(flag=A, now=at(50))
ALIGNED = Driven(flag=B, mode="Aligned", now=at(50, gate=False))
INDEPENDENT = Driven(flag=B, mode="Independent", now=at(50, gate=False))
FAILING = Driven(flag=B, mode="Aligned", now=at(50, gate=False), failing=True)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["weight 0", "settled 0", "pods"]),
        ([GATED], ["zero a + weight 0", "settled 0", "restore a", "pods"]),
        ([ALIGNED], ["zero b", "weight 0", "settled 0", "restore b", "pods"]),
        ([INDEPENDENT], ["zero b", "weight 0", "settled 0", "restore b", "pods"]),
        ([FAILING], ["zero b + weight 0", "settled 0", "restore b", "pods"]),
        ([GATED, ALIGNED], ["zero a + zero b", "weight 0", "settled 0", "restore a + restore b", "pods"]),
        ([GATED, FAILING], ["zero a + zero b + weight 0", "settled 0", "restore a + restore b", "pods"]),
    ],
)
def test_back_gated_at_once_and_others_flags_first(flags: list[Driven], expected: list[str]) -> None:
    """The weight waits for aligned and independent flags, at most the patience, and for a failing source not at all."""
    stages = back(flags)
    assert order(stages) == expected
    assert all(stage.at_most == PATIENCE for stage in stages if any(isinstance(action, Zero) for action in stage.actions))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["rolled", "weight 0", "settled 0", "pods"]),
        ([GATED], ["rolled", "flag a 50!", "seen a 50!", "weight 0", "settled 0", "pods", "release a"]),
        (
            [Driven(flag=A, now=at(50), on_promotion="Open")],
            ["rolled", "flag a 100!", "seen a 100!", "weight 0", "settled 0", "pods", "release a"],
        ),
        ([Driven(flag=A, now=at(50), on_promotion="Remove")], ["rolled", "restore a", "weight 0", "settled 0", "pods"]),
        ([INDEPENDENT], ["rolled", "weight 0", "settled 0", "pods", "release b"]),
        ([Driven(flag=A)], ["rolled", "weight 0", "settled 0", "pods"]),
    ],
)
def test_promotion_swaps_the_gate_between_the_roll_and_the_return(flags: list[Driven], expected: list[str]) -> None:
    """Before the roll old pods would get the flag; after the canary nobody would."""
    assert order(promote(flags)) == expected


FLAGS = st.lists(
    st.builds(
        Driven,
        flag=st.sampled_from([A, B]),
        mode=st.sampled_from(["Gated", "Aligned", "Independent"]),
        now=st.none() | st.integers(0, 100).map(at),
        then=st.none() | st.integers(0, 100).map(at),
        failing=st.booleans(),
    ),
    max_size=2,
    unique_by=lambda flag: flag.flag.key,
)


@given(flags=FLAGS)
def test_on_the_way_back_every_flag_is_zeroed_once_and_the_weight_waits_at_most_the_patience(flags: list[Driven]) -> None:
    """P3: whatever the mix, traffic leaves the canary within one patience of the decision."""
    stages = back(flags)
    zeroed = [action.flag for stage in stages for action in stage.actions if isinstance(action, Zero)]
    assert sorted(flag.key for flag in zeroed) == sorted(flag.flag.key for flag in flags)
    position = next(i for i, stage in enumerate(stages) if any(isinstance(action, Weight) for action in stage.actions))
    assert sum(stage.at_most or 1e9 for stage in stages[:position]) <= PATIENCE
    assert not any(isinstance(action, Zero) for stage in stages[position + 1 :] for action in stage.actions)


@given(flags=FLAGS, now=st.integers(0, 100), then=st.integers(0, 100))
def test_no_flag_rises_before_the_weight_is_written(flags: list[Driven], now: int, then: int) -> None:
    """Forward, each changed flag is written exactly once and on the right side of the weight."""
    flat = [action for stage in forward(weight_now=now, weight_then=then, flags=flags) for action in stage.actions]
    written = {action.flag: i for i, action in enumerate(flat) if isinstance(action, Flag)}
    weight = next((i for i, action in enumerate(flat) if isinstance(action, Weight)), None)
    changed = {flag.flag: flag for flag in flags if flag.then is not None and flag.then != flag.now}
    assert set(written) == set(changed)
    for ref, flag in changed.items():
        assert flag.then is not None
        rises = flag.then.percent >= (flag.now.percent if flag.now else 0)
        assert weight is None or (written[ref] > weight) == rises


@pytest.mark.parametrize(("mode", "expected"), [("Gated", 2.5), ("Aligned", 50.0), ("Independent", 50.0)])
def test_exposure_is_weight_times_share_where_gated(mode: Mode, expected: float) -> None:
    """5 % of the traffic at 50 %: 2.5 % of the requests, unless the flag is on everywhere."""
    assert exposure(weight=5, flags={A: Driven(flag=A, mode=mode, now=at(50))}) == {A: expected}
