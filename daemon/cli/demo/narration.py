"""The story in lines: what just happened, said once, from the difference between two looks at the scene.

Pure: a play in, texts out. The live view prints them above itself, a pipe gets them as they are.
"""

import re
from typing import Literal

import msgspec

from daemon.cli.demo.account import Result
from daemon.cli.demo.play import Play
from daemon.cli.demo.report import unexpected
from daemon.cli.demo.script import APP, KEPT, NAMESPACE, Release, hurried
from daemon.rollout.sentence import count
from daemon.sandbox.inbox import Post

_DECIDED = ("promoted after", "rolled back after")

Style = Literal["plain", "command", "good", "bad", "head", "quiet"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    text: str
    style: Style = "plain"


def opening(play: Play) -> list[Line]:
    """Where this plays, and what is not as it would be at home."""
    lines = [
        Line(text="Two releases of a small shop under load, judged by the real daemon.", style="head"),
        Line(text=play.stage.made_of),
        Line(text=play.stage.command, style="command"),
        Line(text="Different from the shipped defaults, for speed alone:"),
    ]
    lines += [Line(text=f"- {text}", style="quiet") for text in hurried(play.options)]
    lines.append(Line(text=f"Not different: {KEPT}."))
    lines.append(
        Line(
            text="Slack and Teams: the Notifiers hold their real addresses; a proxy on this machine takes what is posted there.",
            style="quiet",
        )
    )
    return lines


def begins(release: Release, number: int, of: int) -> list[Line]:
    """What a user would type."""
    mark = f"linnet.dev/flags={release.flag} --overwrite" if release.announced else "linnet.dev/flags-"
    return [
        Line(text=f"Release {number} of {of}: {release.image}, {release.story}", style="head"),
        Line(text=f"kubectl annotate deploy/{APP} {mark} -n {NAMESPACE}", style="command"),
        Line(text=f"kubectl set image deploy/{APP} {APP}={release.image} -n {NAMESPACE}", style="command"),
    ]


def ends(result: Result) -> list[Line]:
    """The sentence, and what it saved."""
    style: Style = "good" if result.outcome == "Promoted" else "bad" if result.outcome == "RolledBack" else "head"
    lines = [Line(text=result.sentence, style=style)]
    if result.saved is not None:
        lines.append(Line(text=savings(result), style="plain"))
    if not result.as_expected:
        lines.append(Line(text=f"Expected was {said(result.release.expected)}, decided was {said(result.outcome)}.", style="head"))
    return lines


def said(outcome: str) -> str:
    """An outcome as people say it."""
    return {"Promoted": "promoted", "RolledBack": "rolled back", "Undecided": "nothing within the time"}[outcome]


def savings(result: Result) -> str:
    """From the load generator's own counts."""
    found = result.saved
    if found is None:
        raise ValueError("nothing was rolled back")
    return (
        f"Saved {count(found.saved)} requests: {count(found.failed)} failed; of the {count(found.requests)} asked while the canary served, "
        f"{count(found.would_have_failed)} would have failed at 100 %, and about {count(found.failing_per_minute)} more in every minute after."
    )


def closing(play: Play) -> list[Line]:
    """Both decisions again, and the accounts."""
    lines = [Line(text="What was decided", style="head")]
    for result in play.scene.results:
        lines += ends(result)
    other = unexpected(play)
    why = "none failed for any other reason" if not other else f"{count(other)} failed for another reason than a bad build"
    posts = play.stage.inbox.posts
    told = ", ".join(f"{service} {sum(p.kind == service for p in posts)}" for service in sorted({p.kind for p in posts}))
    skipped = f"; {count(play.load.skipped)} were not sent, since this machine is too slow for the rate" if play.load.skipped else ""
    lines.append(Line(text=f"{count(play.load.sent)} requests sent, {why}{skipped}. Messages: {told or 'none'}.", style="quiet"))
    return lines


def keeping(play: Play) -> list[Line]:
    """How to look around."""
    return [
        Line(text="It all runs on, load included, until Ctrl-C. In another terminal:", style="head"),
        Line(text=f"export KUBECONFIG={play.stage.kubeconfig}", style="command"),
        Line(text=f"linnet status {APP} -n {NAMESPACE}", style="command"),
        Line(text=f"kubectl get canaries,deployments,httproutes -n {NAMESPACE}", style="command"),
        Line(text=f"kubectl describe deploy/{APP} -n {NAMESPACE}", style="command"),
        Line(text=f"kubectl set image deploy/{APP} {APP}={APP}:v4 -n {NAMESPACE}", style="command"),
        Line(text=f"curl -H 'Host: shop.test' {play.stage.url}/checkout", style="command"),
    ]


_TITLE = {"Slack": "Slack would have shown", "Teams": "Teams would have shown"}


def decisive(post: Post) -> bool:
    """The messages of a decision are shown whole, the others are counted."""
    return any(words in post.text for words in _DECIDED)


def letter(post: Post) -> tuple[str, str]:
    """(heading, text without the service's marks)."""
    lines = [line.strip() for line in post.text.splitlines() if line.strip()]
    plain = [re.sub(r"\*{1,2}([^*]+)\*{1,2}|`([^`]+)`", lambda m: m[1] or m[2], line) for line in lines]
    facts = plain[2:]
    return _TITLE.get(post.kind, f"{post.kind} got"), "\n".join([*plain[:2], " | ".join(facts)]) if facts else "\n".join(plain)


_PHASES = {
    "Starting": "Held: the Deployment's pods stay as they are; a canary of {tag} starts beside them.",
    "Promoting": "Proven fine: the Deployment rolls to {tag}, while the canary keeps its share.",
    "Returning": "The Deployment runs {tag}: what the flag was opened for is open to all its pods, and the traffic returns to them.",
    "RollingBack": "Proven worse: flag and traffic go back at once, then the pods.",
}


class Narrator:
    """Remembers what was said."""

    def __init__(self) -> None:
        self._number = self._told = self._posts = 0
        self._phase, self._weight, self._flags = "", 0, ""

    def look(self, play: Play) -> list[Line]:
        """What is new."""
        scene, lines = play.scene, list[Line]()
        if scene.release is not None:
            if self._number <= len(scene.results):
                self._number = len(scene.results) + 1
                self._phase, self._weight, self._flags = scene.status.phase, scene.weight, _flags(play)
                lines += begins(scene.release, self._number, len(play.options.order))
            lines += self._progress(play, scene.release)
        while self._told < len(scene.results):
            lines += ends(scene.results[self._told])
            self._told += 1
        return lines

    def _progress(self, play: Play, release: Release) -> list[Line]:
        scene, lines = play.scene, list[Line]()
        rollout = scene.status.rollout
        returning = rollout is not None and rollout.promotion in ("Returning", "Cleaning")
        phase = "Returning" if returning else scene.status.phase
        if phase != self._phase:
            text = _PHASES.get(phase, "").format(tag=release.tag)
            lines += [Line(text=text)] if text else []
            self._phase = phase
        if scene.weight != self._weight:
            lines.append(Line(text=f"The route gives the canary {scene.weight} % of the requests."))
            self._weight = scene.weight
        flags = _flags(play)
        if flags and flags != self._flags:
            lines.append(Line(text=f"Flag {flags}, on the canary's pods alone."))
        self._flags = flags
        return lines

    def letters(self, play: Play) -> list[Post]:
        """Messages that came since."""
        posts = play.stage.inbox.posts
        fresh = posts[self._posts :]
        self._posts = len(posts)
        return fresh


def _flags(play: Play) -> str:
    return ", ".join(f"{f.key} {f.written} %" for f in play.scene.status.flags if f.written is not None)
