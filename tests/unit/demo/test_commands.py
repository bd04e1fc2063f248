"""`linnet demo` and `linnet sandbox` at the edges: wrong options, missing parts, and a clean end."""

import errno
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.cli.main import main
from daemon.cli.trouble import DemoError, explained
from daemon.sandbox import nanny
from daemon.sandbox.gateway import GatewayError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--once", "--keep"], "leave one out"),
        (["demo", "--keep", "--json"], "leave one out"),
        (["demo", "--order", "good"], "good,bad"),
        (["demo", "--bad-error-percent", "101"], "--bad-error-percent"),
        (["demo", "--bad-flag", "maybe"], "--bad-flag"),
        (["sandbox", "--image", "web"], "NAME=COMMAND"),
        (["sandbox", "--kubeconfig", __file__], "exists already"),
    ],
)
def test_a_wrong_option_is_refused_with_the_way_out(arguments: list[str], said: str) -> None:
    """Before anything is started."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_a_missing_manifest_is_named() -> None:
    """Exit code 2, and the path in the message."""
    done = CliRunner().invoke(main, ["sandbox", "-f", "/nowhere/shop.yaml", "--no-gateway"])
    assert done.exit_code == 2
    assert "/nowhere/shop.yaml" in done.output


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("x", name="trustme"), "pip install 'linnet[demo]'"),
        (ModuleNotFoundError("x", name="openfeature.contrib"), "pip install 'linnet[demo]'"),
        (GatewayError("Traefik is not installed; install it", reason="NotInstalled", retryable=False), "Traefik is not installed"),
        (OSError(errno.EADDRINUSE, "address already in use"), "--gateway-port"),
        (ExceptionGroup("", [DemoError("the daemon ended with exit code 1")]), "the daemon ended"),
    ],
)
def test_what_people_can_mend_is_explained(error: Exception, said: str) -> None:
    """One sentence with the way out."""
    assert said in (explained(error) or "")


@pytest.mark.parametrize(
    "error",
    [ValueError("a fault of ours"), ModuleNotFoundError("x", name="daemon.nothing"), ExceptionGroup("", [DemoError("x"), KeyError("y")])],
)
def test_a_fault_of_ours_keeps_its_trace(error: Exception) -> None:
    """It is not dressed up as the user's."""
    assert explained(error) is None


def test_help_of_both_answers_without_loading_the_sandbox() -> None:
    """A shell completes faster than a cluster loads."""
    code = (
        "import sys; from daemon.cli.demo.command import demo; from daemon.cli.sandbox import sandbox; "
        "sys.exit(any(m.startswith(('daemon.sandbox', 'aiohttp', 'rich.live')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_the_sandbox_serves_linnets_kinds_and_ends_without_a_trace(tmp_path: Path) -> None:
    """From the line it prints to the last process: started as a user would, ended by Ctrl-C."""
    kubeconfig = tmp_path / "kubeconfig"
    command = [sys.executable, "-m", "daemon.cli.main", "sandbox", "--no-gateway", "--kubeconfig", str(kubeconfig)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        text = "".join(said)
        assert f"export KUBECONFIG={kubeconfig}" in text
        assert "linnet run --kubeconfig " in text
        config = json.loads(kubeconfig.read_text())
        request = urllib.request.Request(
            f"{config['clusters'][0]['cluster']['server']}/apis/linnet.dev/v1alpha1/namespaces/linnet-system/canaryprofiles/web",
            headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply)["kind"] == "CanaryProfile"
        mark = mark_of(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert nanny.marked(mark) == []
    assert list(tmp_path.iterdir()) == []


def mark_of(pid: int) -> str:
    """The mark that all processes of a sandbox carry, from the command line of its nanny."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if any(word.endswith("nanny.py") for word in words):
            return words[-2]
    raise AssertionError("the sandbox has no nanny")
