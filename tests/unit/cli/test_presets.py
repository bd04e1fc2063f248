"""`linnet presets`: what can be pasted into a dashboard is what the presets mean."""

from click.testing import CliRunner

from analyzers.presets import PRESETS
from daemon.cli.main import main


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["presets", *arguments])
    return done.exit_code, done.output


def test_every_preset_is_printed_with_its_standing() -> None:
    """Each convention, and whether it was tried on a real one."""
    code, text = run()
    assert code == 0
    for name, preset in PRESETS.items():
        assert f"{name}: {preset.purpose}" in text
    assert "(tried on Traefik)" in text
    assert "# OpenTelemetry (unverified)" in text


def test_one_preset_with_conditions_and_a_window_of_ones_own() -> None:
    """The conditions are in every selector, after the convention's own."""
    code, text = run("HTTPErrorRatio", "--match", '{namespace="shop"}', "--window", "90s")
    assert code == 0
    assert (
        'sum(rate(http_requests_total{code=~"5..",namespace="shop"}[90s])) / sum(rate(http_requests_total{code!="",namespace="shop"}[90s]))'
        in text
    )
    assert "HTTPLatency" not in text


def test_what_cannot_be_read_is_said_with_the_way_out() -> None:
    """A wrong name, wrong conditions, a wrong window: exit code 2 and one line."""
    for arguments, says in (
        (("Nginx",), "there are HTTPErrorRatio"),
        (("--match", "shop"), "--match"),
        (("--window", "five"), "such as 90s or 5m"),
    ):
        code, text = run(*arguments)
        assert code == 2
        assert says in text
