"""`linnet presets`: what the golden signals mean, convention by convention, as PromQL for a dashboard."""

import click


@click.command()
@click.argument("name", required=False, metavar="[PRESET]")
@click.option("--match", default="", metavar="LABELS", help="""Conditions on labels, such as 'namespace="shop",pod=~"web-.*"'.""")
@click.option("--window", default="5m", show_default=True, help="Window of the rates.")
def presets(name: str | None, match: str, window: str) -> None:
    """Print what presets count, best convention first, as PromQL.

    The judge itself reads raw samples of these counters; rates and quantiles are for people. A convention that is marked
    unverified was not tried on a real server or library. Exit codes: 0, or 2 for a name or conditions that cannot be read.
    """
    import re

    from analyzers.errors import ConfigError
    from analyzers.metrics import parse_selector
    from analyzers.presets import PRESETS, metric_of, promql

    try:
        matchers = parse_selector(f"a{{{match.strip().removeprefix('{').removesuffix('}')}}}", field="--match").matchers
    except ConfigError as e:
        raise click.UsageError(str(e)) from e
    if not re.fullmatch(r"([0-9]+(ms|[smhdwy]))+", window):
        raise click.UsageError(f"--window is {window!r}: write a duration such as 90s or 5m")
    if name is not None and name not in PRESETS:
        raise click.UsageError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    for key, preset in PRESETS.items():
        if name in (None, key):
            click.echo(f"{key}: {preset.purpose}")
            for convention in preset.conventions:
                click.echo(f"  # {convention.name} ({f'tried on {convention.tried}' if convention.tried else 'unverified'})")
                click.echo(f"  {promql(metric_of(preset, convention, name=key), matchers, window=window, native=convention.native)}")
