"""Windows by the wall clock of their zone, through both changes of the clock; freezes by their times."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.calendar import WEEK, FreezeSpec, ReleaseWindow
from daemon.rollout import timetable

BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def window(opens: str | None = None, closes: str | None = None, *days: Any, zone: str = BERLIN) -> ReleaseWindow:
    return ReleaseWindow(time_zone=zone, opens=opens, closes=closes, days=list(days) or None)


@pytest.mark.parametrize(
    ("given_window", "now", "opens"),
    [
        (window("09:00", "16:00"), "2026-07-01T06:59:00Z", "2026-07-01T07:00:00Z"),  # summer time
        (window("09:00", "16:00"), "2026-01-01T07:59:00Z", "2026-01-01T08:00:00Z"),  # winter time
        (window("09:00", "16:00"), "2026-07-01T14:00:00Z", "2026-07-02T07:00:00Z"),  # closed at the very minute
        (window("09:00", "16:00", "Mon"), "2026-07-01T08:00:00Z", "2026-07-06T07:00:00Z"),
        (window("22:00", "04:00", "Fri"), "2026-07-04T02:00:00Z", "2026-07-10T20:00:00Z"),  # Friday's night ends on Saturday
        (window(None, None, "Sun"), "2026-07-03T22:00:00Z", "2026-07-04T22:00:00Z"),  # whole days
        (window("02:30", "05:00"), "2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z"),  # 02:30 does not exist: at 03:00
        (window("02:10", "02:50", "Sun"), "2026-03-28T23:00:00Z", "2026-04-05T00:10:00Z"),  # all of it is left out: a week later
        (window("02:30", "02:45"), "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z"),  # shown twice: open twice
        (window("01:30", "02:30"), "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z"),  # set back into the window
        (window("09:00", "16:00", zone="Asia/Kathmandu"), "2026-07-01T00:00:00Z", "2026-07-01T03:15:00Z"),
        (window("09:00", "16:00", zone="Pacific/Kiritimati"), "2026-07-01T06:00:00Z", "2026-07-01T19:00:00Z"),
    ],
)
def test_a_closed_window_opens_next_by_the_wall_clock(given_window: ReleaseWindow, now: str, opens: str) -> None:
    """Closed at `now`, open from `opens` on, through gaps and overlaps of the clock."""
    assert not timetable.is_open(given_window, at(now))
    assert timetable.next_opening(given_window, at(now)) == at(opens)
    assert timetable.is_open(given_window, at(opens))
    assert not timetable.is_open(given_window, at(opens) - 1)


@given(
    zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "UTC"]),
    opens=st.integers(0, 95),
    length=st.integers(1, 95),
    days=st.sets(st.sampled_from(WEEK)),
    when=st.integers(int(at("2026-01-01T00:00:00Z")) // 60, int(at("2027-12-31T00:00:00Z")) // 60),
)
def test_nothing_between_now_and_the_next_opening_is_open(zone: str, opens: int, length: int, days: set[Any], when: int) -> None:
    """What is waited for is the first opening there is: no quarter of an hour before it reads as within the window."""
    closes = (opens + length) % 96
    wall = [f"{n // 4:02}:{n % 4 * 15:02}" for n in (opens, closes)]
    made = window(wall[0], wall[1], *sorted(days), zone=zone)
    now = 60.0 * when
    if timetable.is_open(made, now):
        return
    found = timetable.next_opening(made, now)
    assert found is not None
    assert timetable.is_open(made, found)
    first = now - now % 900 + 900
    assert not any(timetable.is_open(made, first + 900 * n) for n in range(int((found - first) // 900)) if first + 900 * n < found)


def test_of_several_windows_one_that_is_open_is_enough() -> None:
    """Each move by the windows that speak of it; one that none speaks of is free."""
    day = ReleaseWindow(time_zone="UTC", opens="08:00", closes="18:00", moves=["Promotion"])
    late = ReleaseWindow(time_zone="UTC", opens="20:00", closes="21:00", moves=["Promotion", "Start"])
    [start] = timetable.window_permits([day, late], at("2026-07-01T12:00:00Z"))
    assert (start.start, start.advance, start.promote) == (False, True, True)
    assert list(timetable.window_permits([day, late], at("2026-07-01T20:30:00Z"))) == []
    start, promotion = timetable.window_permits([day, late], at("2026-07-01T19:00:00Z"))
    assert (promotion.start, promotion.promote) == (True, False)
    assert start.until == promotion.until == at("2026-07-01T20:00:00Z")


def test_a_closed_window_says_what_waits_and_when_it_opens() -> None:
    """In the words of its owner's zone."""
    made = ReleaseWindow(time_zone=BERLIN, opens="09:00", closes="16:00", days=["Mon", "Tue", "Wed", "Thu"], moves=["Start"])
    [permit] = timetable.window_permits([made], at("2026-07-03T12:00:00Z"))
    assert permit.why == (
        "the start waits for a release window (Mon-Thu 09:00-16:00 Europe/Berlin): the next opens Mon 2026-07-06 09:00 Europe/Berlin"
    )


def test_a_freeze_holds_from_its_beginning_to_its_end() -> None:
    """By instants with their offsets; without an end it lasts, and says so."""
    spec = FreezeSpec(reason="sale", since="2026-12-24T18:00:00+01:00", until="2026-12-27T00:00:00Z")
    assert timetable.freeze_permit("shop/sale", spec, at("2026-12-24T16:59:59Z")) is None
    held = timetable.freeze_permit("shop/sale", spec, at("2026-12-24T17:00:00Z"))
    assert held is not None
    assert (held.start, held.advance, held.promote, held.must_abort, held.until) == (False, False, False, False, at("2026-12-27T00:00:00Z"))
    assert held.why == "frozen until Sun 2026-12-27 00:00 UTC by Freeze shop/sale: sale"
    assert timetable.freeze_permit("shop/sale", spec, at("2026-12-27T00:00:00Z")) is None
    endless = timetable.freeze_permit("shop/audit", FreezeSpec(reason="audit", hotfixes="Refused"), at("2026-12-24T17:00:00Z"))
    assert endless is not None
    assert (endless.until, endless.hotfix, "until it is deleted" in endless.why) == (None, False, True)


@pytest.mark.parametrize(
    ("own", "spec", "meant"),
    [
        ("shop", {}, True),
        ("other", {}, False),
        ("other", {"namespaces": ["shop"]}, False),  # a tenant freezes nobody else
        ("linnet-system", {}, False),
        ("linnet-system", {"namespaces": ["shop"]}, True),
        ("linnet-system", {"namespaces": ["*"]}, True),
        ("linnet-system", {"namespaces": ["bank"]}, False),
        ("shop", {"selector": {"matchLabels": {"tier": "front"}}}, True),
        ("shop", {"selector": {"matchLabels": {"tier": "front", "team": "b"}}}, False),
    ],
)
def test_a_freeze_reaches_its_namespace_and_from_the_catalogue_those_it_names(own: str, spec: dict[str, Any], meant: bool) -> None:
    """And there the releases with its labels."""
    made = msgspec.convert({"reason": "r", **spec}, type=FreezeSpec)
    assert timetable.reaches(made, own=own, namespace="shop", catalogue="linnet-system", labels={"tier": "front", "team": "a"}) is meant


def test_the_clock_of_lord_howe_moves_by_half_an_hour() -> None:
    """Gaps need not be whole hours."""
    zone = ZoneInfo("Australia/Lord_Howe")
    made = window("02:15", "03:00", zone="Australia/Lord_Howe")
    evening = datetime(2026, 10, 3, 22, 0, tzinfo=zone)
    assert timetable.next_opening(made, evening.timestamp()) == datetime(2026, 10, 4, 2, 30, tzinfo=zone).timestamp()
    assert evening + timedelta(hours=4) < datetime(2026, 10, 4, 2, 30, tzinfo=zone)
