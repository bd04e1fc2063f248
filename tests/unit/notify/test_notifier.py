"""The hand-over: nothing waits for a server, every message has one fate, and lanes do not know each other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.notify.catalogue import Route, routes_for
from daemon.notify.message import KINDS, Kind
from daemon.notify.notifier import Notifier, NotifierOptions, Outcome
from daemon.notify.targets import parse
from tests.unit.notify.conftest import SLACK
from tests.unit.notify.inbox import Inbox, message

FAST = NotifierOptions(timeout=5, attempts=3, backoff=0)


class Book:
    """What became of the messages."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._noted = asyncio.Event()

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._noted.set()

    def fates(self, route: str) -> list[str]:
        return [outcome.fate for outcome in self.outcomes if outcome.route == route]

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._noted.clear()
            await self._noted.wait()


@asynccontextmanager
async def running(options: NotifierOptions = FAST) -> AsyncIterator[tuple[Notifier, Book]]:
    book = Book()
    notifier = Notifier(book, options)
    task = asyncio.ensure_future(notifier.run())
    try:
        yield notifier, book
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_server_that_hangs_delays_neither_the_caller_nor_the_others(inbox: Inbox) -> None:
    """Six messages wait for a server that hangs while it lives; every offer returns at once and all of the other lanes' arrive."""
    hanging, slack, relay = parse(f"{inbox.base}/hang/x"), parse(SLACK), parse(f"{inbox.base}/relay")
    async with running() as (notifier, book):
        for number in range(6):
            told = message("Paused", revision=str(number))
            for route, target in (("shop/hanging", hanging), ("shop/slack", slack), ("shop/relay", relay)):
                # No await in here: were `offer` to wait for anything, there would be nobody to wait for.
                notifier.offer(route, target, told)
        await inbox.wait_for_hung()
        await inbox.wait_for(12)
        await book.until(lambda: len(book.outcomes) >= 12)
        assert inbox.hung >= 1
        assert not inbox.closing.is_set()
        assert book.fates("shop/slack") == book.fates("shop/relay") == ["Delivered"] * 6
        assert "Delivered" not in book.fates("shop/hanging")


async def test_messages_of_a_lane_arrive_in_order(inbox: Inbox) -> None:
    """A rollback is never read before its start."""
    target = parse(f"{inbox.base}/relay")
    kinds: tuple[Kind, ...] = ("Started", "Step", "Paused", "RolledBack")
    async with running() as (notifier, _):
        for kind in kinds:
            notifier.offer("shop/relay", target, message(kind))
        await inbox.wait_for(4)
    assert tuple(body["linnet"]["kind"] for _, body in inbox.received) == kinds


async def test_waiting_steps_of_a_rollout_collapse_into_the_latest(inbox: Inbox) -> None:
    """A slow channel shows where the rollout is, not where it was; other rollouts and other kinds are kept."""
    target = parse(f"{inbox.base}/relay")
    book = Book()
    notifier = Notifier(book, FAST)
    for told in (
        message("Started"),
        message("Step", sentence="5 %"),
        message("Step", sentence="25 %"),
        message("Step", sentence="1 %", name="cart"),
        message("Step", sentence="50 %"),
        message("Promoted"),
    ):
        notifier.offer("r", target, told)
    task = asyncio.ensure_future(notifier.run())
    await inbox.wait_for(5)
    task.cancel()
    await asyncio.wait([task])
    assert [outcome.message.sentence for outcome in book.outcomes if outcome.fate == "Collapsed"] == ["5 %"]
    steps = [body["linnet"]["sentence"] for _, body in inbox.received if body["linnet"]["kind"] == "Step"]
    assert steps == ["25 %", "1 %", "50 %"]


async def test_a_full_lane_drops_its_oldest_and_says_so() -> None:
    """Bounded memory: the newest messages are the ones that matter."""
    book = Book()
    notifier = Notifier(book, NotifierOptions(queue=2))
    for number in range(5):
        notifier.offer("r", parse("https://relay.example/x"), message("Paused", revision=str(number)))
    assert [(outcome.fate, outcome.message.revision) for outcome in book.outcomes] == [("Dropped", "0"), ("Dropped", "1"), ("Dropped", "2")]
    assert "2 messages were waiting" in book.outcomes[0].problem


async def test_a_busy_server_is_tried_again_and_a_dead_address_is_not(inbox: Inbox) -> None:
    """503 twice, then taken; 404 is told after one attempt."""
    inbox.refuse = [503, 503]
    async with running() as (notifier, book):
        notifier.offer("busy", parse(f"{inbox.base}/relay"), message())
        await book.until(lambda: len(book.outcomes) == 1)
        notifier.offer("dead", parse(f"{inbox.base}/status/404/x"), message())
        await book.until(lambda: len(book.outcomes) == 2)
    assert [(outcome.fate, outcome.attempts) for outcome in book.outcomes] == [("Delivered", 3), ("Failed", 1)]
    assert "HTTP 404" in book.outcomes[1].problem


async def test_attempts_are_bounded(inbox: Inbox) -> None:
    """A server that always fails costs three calls a message."""
    inbox.refuse = [500] * 10
    async with running() as (notifier, book):
        notifier.offer("r", parse(f"{inbox.base}/relay"), message())
        await book.until(lambda: bool(book.outcomes))
    assert (book.outcomes[0].fate, book.outcomes[0].attempts, len(inbox.refuse)) == ("Failed", 3, 7)


async def test_a_changed_secret_is_used_for_the_next_message(inbox: Inbox) -> None:
    """No restart, and nothing goes to the old address any more."""
    async with running() as (notifier, _):
        for path in ("old", "new"):
            notifier.offer("r", parse(f"{inbox.base}/{path}"), message())
            assert await notifier.drain(20)
    assert [path for path, _ in inbox.received] == ["/old", "/new"]


async def test_a_wrong_address_fails_its_own_lane_only(inbox: Inbox) -> None:
    """The task group lives on."""
    async with running() as (notifier, book):
        notifier.offer("wrong", parse("slack://planted"), message())
        await book.until(lambda: len(book.outcomes) == 1)
        notifier.offer("right", parse(f"{inbox.base}/relay"), message())
        await book.until(lambda: len(book.outcomes) == 2)
    assert [outcome.fate for outcome in book.outcomes] == ["Failed", "Delivered"]


async def test_drain_waits_for_the_last_message_and_not_for_a_hanging_one(inbox: Inbox) -> None:
    """On the way out a rollback is still announced; a dead channel does not hold the process."""
    async with running() as (notifier, book):
        notifier.offer("r", parse(f"{inbox.base}/relay"), message())
        assert await notifier.drain(10)
        assert book.fates("r") == ["Delivered"]
        notifier.offer("h", parse(f"{inbox.base}/hang/x"), message())
        await inbox.wait_for_hung()
        assert not await notifier.drain(0)


async def test_lanes_without_work_are_forgotten(inbox: Inbox) -> None:
    """Two hundred Notifiers that came and went leave nothing behind."""
    async with running() as (notifier, _):
        for number in range(5):
            notifier.offer(f"r{number}", parse(f"{inbox.base}/relay"), message())
        assert await notifier.drain(20)
        assert notifier.lanes == 0


def _route(name: str, *kinds: Kind) -> Route:
    return Route(notifier=name, namespace="shop", on=kinds or None)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Started", ("shop/all", "shop/some")),
        ("Step", ("shop/all",)),
        ("RolledBack", ("shop/all", "shop/some", "shop/bad")),
        ("Test", ("shop/all", "shop/some", "shop/bad")),
    ],
)
def test_each_notifier_hears_what_it_asked_for(kind: Kind, expected: tuple[str, ...]) -> None:
    """Left out means everything; a test goes to all."""
    routes = (_route("all"), _route("some", "Started", "RolledBack"), _route("bad", "RolledBack"))
    assert routes_for(kind, routes) == expected


@given(kind=st.sampled_from(KINDS), names=st.lists(st.sampled_from("abc"), max_size=8))
def test_no_notifier_hears_twice(kind: Kind, names: list[str]) -> None:
    """Named twice, told once."""
    found = routes_for(kind, [_route(name) for name in names])
    assert len(found) == len(set(found)) == len(set(names))


def test_equal_names_in_two_namespaces_are_two_notifiers() -> None:
    """The catalogue's Notifier and one's own may share a name."""
    routes = (Route(notifier="slack", namespace="shop"), Route(notifier="slack", namespace="linnet-system"))
    assert routes_for("Started", routes) == ("shop/slack", "linnet-system/slack")
