"""The one JSON object of `linnet demo --json`, and the exit code: 0 only when the good release was promoted and the bad one rolled back."""

from typing import Any

import msgspec

from daemon.cli.demo import account
from daemon.cli.demo.play import Play
from daemon.cli.demo.script import KEPT, hurried


def succeeded(play: Play) -> bool:
    """Both decisions as they should be, whatever the order."""
    results = play.scene.results
    return len(results) == len(play.options.order) and all(r.as_expected for r in results)


def unexpected(play: Play) -> int:
    """Failed requests of the whole show that no bad build explains."""
    bad = frozenset(r.release.tag for r in play.scene.results if r.release.error_percent > 0)
    return account.unexpected(account.rows(play.load.outcomes), bad)


def report(play: Play, seconds: float) -> dict[str, Any]:
    """Everything that was decided and counted, as plain values."""
    whole = account.rows(play.load.outcomes)
    return {
        "ok": succeeded(play),
        "seconds": round(seconds, 1),
        "releases": [_release(result) for result in play.scene.results],
        "requests": {
            "sent": play.load.sent,
            "answered": play.load.answered,
            "failed": sum(r.failed for r in whole),
            "unexpected_failures": unexpected(play),
            "not_sent": play.load.skipped,
            "by_track_and_flag": [msgspec.to_builtins(row) for row in whole],
        },
        "messages": [{"service": post.kind, "text": post.text} for post in play.stage.inbox.posts],
        "differs_for_speed": list(hurried(play.options)),
        "kept": KEPT,
        "daemon": play.stage.command,
    }


def _release(result: account.Result) -> dict[str, Any]:
    release = result.release
    return {
        "kind": release.kind,
        "image": release.image,
        "revision": result.revision,
        "flag": release.flag,
        "flag_opened": release.announced,
        "error_percent_behind_flag": release.error_percent,
        "expected": release.expected,
        "outcome": result.outcome,
        "seconds": result.seconds,
        "sentence": result.sentence,
        "odds": [msgspec.to_builtins(odds) for odds in result.odds],
        "by_track_and_flag": [msgspec.to_builtins(row) for row in result.rows],
        "saved": msgspec.to_builtins(result.saved),
    }
