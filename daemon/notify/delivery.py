"""One address, one apprise plugin, one message at a time, in a thread of our own.

apprise posts with blocking calls in a pool that all its users share, and six hanging servers fill it on a small machine; so each
address has a thread of its own, and never two. The threads are daemons: a server that trickles bytes cannot keep the process from
ending. Logging of apprise and urllib3 is shut off here, because at every level some of it quotes addresses.
"""

import asyncio
import logging
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from daemon.notify.errors import DeliveryError, InvalidTargetError, NotifyError
from daemon.notify.message import Message, Severity
from daemon.notify.render import Rendered, render
from daemon.notify.targets import Target

TIMEOUT = 15.0
T = TypeVar("T")
_STATUS = re.compile(r"error=(\d{3})\b")


class Courier:
    """Takes messages to one target. Not for use by two tasks at once."""

    def __init__(self, target: Target, timeout: float = TIMEOUT) -> None:
        self._target = target
        self._timeout = timeout
        self._plugin: Any = None
        self._running: asyncio.Future[None] | None = None

    @property
    def hanging(self) -> bool:
        """A call that was given up on still occupies the thread."""
        return self._running is not None and not self._running.done()

    async def deliver(self, message: Message) -> None:
        """Post it, or raise DeliveryError or InvalidTargetError within the timeout; the text of neither shows the address."""
        if self.hanging:
            raise DeliveryError(f"{self._target.label} still hangs in the call before", retryable=True)
        self._running = in_thread(lambda: self._post(message))
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(self._running)
        except TimeoutError:
            # Nobody awaits the thread any more; its late failure is not news.
            self._running.add_done_callback(_retrieve)
            raise DeliveryError(f"{self._target.label} did not answer within {self._timeout:g} s", retryable=True) from None

    def _post(self, message: Message) -> None:
        """Runs in the thread."""
        _heard.status = None
        try:
            sent = self._send(render(message, self._target.service), message.severity)
        except NotifyError:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever a plugin raises may quote the address
            raise DeliveryError(f"{self._target.label} failed with {type(problem).__name__}", retryable=True) from None
        if not sent:
            raise _refusal(self._target.label, _heard.status)

    def _send(self, rendered: Rendered, severity: Severity) -> bool:
        if self._plugin is None:
            self._plugin = build(self._target)
        if rendered.extra:
            # `attachments` emptied means left out; ours are never any.
            self._plugin.payload_extras = {**self._plugin.payload_extras, "attachments": "", **rendered.extra}
        return bool(self._plugin.notify(body=rendered.body, title=rendered.title, notify_type=severity))


def build(target: Target) -> Any:
    """The apprise plugin for a target. The first call imports apprise, about 0.4 s, so it belongs into a thread."""
    apprise = _apprise()
    asset = apprise.AppriseAsset(
        app_id="Linnet", app_desc="Linnet", app_url="", image_url_mask="", image_url_logo="", async_mode=False, http_redirects=False
    )
    plugin = apprise.Apprise.instantiate(target.address, asset=asset)
    if plugin is None:
        raise InvalidTargetError(
            f"apprise does not accept the {target.service} address in the Notifier's Secret. Check it against apprise's documentation."
        )
    return plugin


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run blocking work in a daemon thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as problem:  # noqa: BLE001 - handed to whoever awaits
            error = problem
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            # The loop closed while a server hung: nobody is left to tell.
            return

    threading.Thread(target=run, name="linnet-notify", daemon=True).start()
    return future


class _Heard(threading.local):
    """The HTTP status of the post that this thread makes, read from apprise's warning, the only place that has it."""

    status: int | None = None


class _StatusOnly(logging.Filter):
    """Takes the status out of a record and lets no record pass, whatever handlers there are."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = _STATUS.search(record.getMessage())
        if found is not None:
            _heard.status = int(found[1])
        return False


_heard = _Heard()
_import_lock = threading.Lock()


def _apprise() -> Any:
    with _import_lock:
        # apprise tries a module of the standard library that later Pythons lack; not our users' business, wherever warnings are errors.
        warnings.filterwarnings("ignore", message="'imghdr' is deprecated", category=DeprecationWarning)
        import apprise

        log = logging.getLogger("apprise")
        if not any(isinstance(found, _StatusOnly) for found in log.filters):
            log.addFilter(_StatusOnly())
            log.setLevel(logging.WARNING)
            # Its debug lines are request lines, path included, and the path is the password.
            logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return apprise


def _refusal(label: str, status: int | None) -> DeliveryError:
    if status is None:
        return DeliveryError(f"{label} could not be reached", retryable=True)
    final = 400 <= status < 500 and status not in (408, 425, 429)
    hint = ". The address is no longer valid there: put a new one into the Secret" if status in (401, 403, 404, 410) else ""
    return DeliveryError(f"{label} answered HTTP {status}{hint}", retryable=not final)


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
