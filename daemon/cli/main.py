"""Entry point of the command line: each command lives in its own module and is imported only when it is called.

`--help` must answer at once, and most commands need neither the judge nor a notifier.
"""

import importlib
from collections.abc import Mapping
from typing import Final

import click

from daemon import __version__

# name -> (module, attribute, one line for the overview)
COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "run": ("daemon.cli.run", "run", "Run the daemon."),
    "status": ("daemon.cli.status", "status", "Show releases: all, or one in detail."),
    "lint": ("daemon.cli.linting", "lint", "Check manifests before a cluster sees them."),
    "doctor": ("daemon.cli.doctor", "doctor", "Say what is missing, within a minute."),
    "import": ("daemon.cli.importing.command", "import_", "Turn manifests of Flagger and Argo Rollouts into Linnet's."),
    "presets": ("daemon.cli.presets", "presets", "Print what presets count, as PromQL."),
    "explain": ("daemon.cli.evidence", "explain", "Say what a verdict rests on, with a picture."),
    "replay": ("daemon.cli.evidence", "replay", "Give a verdict again from its stored evidence."),
    "backtest": ("daemon.cli.backtest", "backtest", "Say what Linnet would have done in the last releases."),
    "aa": ("daemon.cli.aa", "aa", "Judge a service against itself, and say how often that goes wrong."),
    "plan": ("daemon.cli.plan", "plan", "Say how long a release will take, from the service's traffic."),
    "wait": ("daemon.cli.waiting", "wait", "Wait until a release has ended."),
    "promote": ("daemon.cli.verbs", "promote", "Promote the release under way now."),
    "abort": ("daemon.cli.verbs", "abort", "Take the release under way back."),
    "kill": ("daemon.cli.kill", "kill", "Take flags back at once, whichever releases move them."),
    "pause": ("daemon.cli.verbs", "pause", "Hold a release at its present step."),
    "resume": ("daemon.cli.verbs", "resume", "Go on with a paused release."),
    "retry": ("daemon.cli.verbs", "retry", "Release a failed revision again, from the first step."),
    "flags": ("daemon.cli.flags", "flags", "Show each flag of a release, share by share."),
    "cohort": ("daemon.cli.flags", "cohort", "Say whether a user has a flag, and why."),
    "hotfix": ("daemon.cli.verbs", "hotfix", "Hurry a release, with a reason."),
    "approve": ("daemon.cli.verbs", "approve", "Say yes to an approval step."),
    "skip": ("daemon.cli.verbs", "skip", "Go to the next step now."),
    "step": ("daemon.cli.verbs", "step", "Go to a later step now."),
    "set-weight": ("daemon.cli.verbs", "set_weight", "Set the canary's share within a step."),
    "history": ("daemon.cli.undo", "history", "List the versions that are kept, and what became of each."),
    "undo": ("daemon.cli.undo", "undo", "Go back to an earlier version."),
    "restart": ("daemon.cli.restart", "restart", "Restart good pods while a Deployment is held."),
    "release": ("daemon.cli.release", "release", "Un-pause what Linnet holds, without the daemon."),
    "cleanup": ("daemon.cli.cleanup", "cleanup", "Give back everything that Linnet changed, without the daemon."),
    "demo": ("daemon.cli.demo.command", "demo", "Play a good and a bad release on this machine."),
    "sandbox": ("daemon.cli.sandbox", "sandbox", "A small cluster on this machine, to try things on."),
    "notify": ("daemon.cli.notify", "notify", "Try a Notifier."),
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports them when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, attribute, _ = found
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], list(COMMANDS), n=1)
            hint = f" Did you mean {near[0]}?" if near else " See linnet --help."
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="linnet")
def main() -> None:
    """Progressive delivery for Kubernetes: traffic and feature flags move together."""


if __name__ == "__main__":
    main()
