"""The command table: quick, complete, and the same under kubectl."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from daemon.cli.main import COMMANDS, main

HEAVY = {"kubernetes_asyncio", "scipy", "numpy", "apprise", "aiohttp", "rich", "msgspec", "yaml", "prometheus_api_client"}
PYTHON = Path(sys.executable)


def imported(*arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter loads for `linnet ARGUMENTS`."""
    code = "import sys; from daemon.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint(' '.join({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    done = subprocess.run([PYTHON, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS if name not in ("run", "demo", "sandbox"))]
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """Neither the group's help nor a command's waits for a client, a judge or a notifier to load."""
    assert not HEAVY & imported(*arguments)


def test_every_command_explains_itself() -> None:
    """Each command of the table exists, and its help has more than its name."""
    for name in COMMANDS:
        done = CliRunner().invoke(main, [name, "--help"])
        assert done.exit_code == 0, name
        command = main.get_command(click.Context(main), name)
        assert command is not None and (command.help or "").strip(), name


def test_a_misspelt_command_gets_the_nearest() -> None:
    """One line, exit code 2."""
    done = CliRunner().invoke(main, ["promot", "web"])
    assert done.exit_code == 2
    assert "Did you mean promote?" in done.output


def test_kubectl_finds_it_as_a_plugin() -> None:
    """`kubectl linnet` is the same entry point under the name that kubectl looks for."""
    from importlib.metadata import entry_points

    scripts = {e.name: e.value for e in entry_points(group="console_scripts") if e.name in ("linnet", "kubectl-linnet")}
    assert scripts == dict.fromkeys(("linnet", "kubectl-linnet"), "daemon.cli.main:main")


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A missing kubeconfig names the file and the option."""
    done = CliRunner().invoke(main, ["status", "--kubeconfig", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert done.output == f"linnet: kubeconfig {tmp_path / 'none'} does not exist; pass another --kubeconfig\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--kubeconfig", "none"), 1, "kubeconfig none does not exist; pass another --kubeconfig"),
        (("--metrics-address", "everywhere"), 2, "'everywhere' is not host:port, such as 0.0.0.0:8080 or [::]:8080"),
        (("--metrics-address", "127.0.0.1:80800"), 2, "'127.0.0.1:80800' is not host:port"),
        (("--metrics-address", "::1:8080"), 2, "'::1:8080' is not host:port"),
        (("--max-rollouts", "-1"), 2, "Invalid value for '--max-rollouts': -1 is not in the range 0<=x<=1000"),
        (("--namespace-caps", "--namespace", "shop"), 2, "leave it out beside --namespace, and set --max-rollouts-per-namespace"),
    ],
)
def test_a_daemon_that_cannot_start_says_why_without_a_trace(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """What a person has to mend is one line."""
    done = subprocess.run(
        [str(PYTHON.with_name("linnet")), "run", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (code, False)
    assert said in done.stdout + done.stderr


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    """The port of /metrics has another owner: no trace, and the option."""
    kubeconfig = tmp_path / "config"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    users = [{"name": "u", "user": {"token": "t"}}]
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users, "current-context": "c"}
    kubeconfig.write_text(json.dumps(config))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [
            str(PYTHON.with_name("linnet")),
            "run",
            "--kubeconfig",
            str(kubeconfig),
            f"--metrics-address=127.0.0.1:{taken.getsockname()[1]}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "--metrics-address, choose another" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
