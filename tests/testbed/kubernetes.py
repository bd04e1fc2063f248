"""`make test-kubernetes VERSION=1.35.4`: another Kubernetes than the one that everything is tested on, built, and tested on.

The whole of a second server is eight minutes of work for two cores, too much for every run of CI; but what Linnet does on servers without
MutatingAdmissionPolicy has to be seen on one. API server, controller manager and scheduler are compiled from their published modules
into a folder of their own in the cache; etcd, kubectl and all else are those of every test.

    python -m tests.testbed.kubernetes 1.35.4                        # the tests of the webhook
    python -m tests.testbed.kubernetes 1.35.4 -k verb                # some of them
    python -m tests.testbed.kubernetes 1.35.4 tests/cluster -k hold  # others
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.testbed import build

VARIABLE = "LINNET_TEST_KUBERNETES"
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
TESTS = ("tests/cluster/test_webhook.py", "tests/cluster/test_hold_policies.py", "tests/cluster/test_who_may_say.py")


def folder(version: str) -> Path:
    return build.cache_dir() / f"kubernetes-{version}"


def bin_dir() -> Path:
    """Where the servers are that this run tests on."""
    version = os.environ.get(VARIABLE)
    return folder(version) / "bin" if version else build.bin_dir()


def _module(go: str, version: str, where: Path) -> str:
    """A go.mod that asks for this version: what Kubernetes keeps in its own tree is published under the same number, with 0 for 1."""
    asked = [go, "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"]
    own = Path(json.loads(build._run(asked, where))["GoMod"]).read_text()
    staged = re.findall(r"^\s+(k8s\.io/[a-z-]+) => \./staging", own, re.MULTILINE)
    lines = [f"\t{name} => {name} v0.{version.partition('.')[2]}" for name in staged]
    go_version = re.search(r"^go .*$", own, re.MULTILINE)
    head = ["module controlplane/k8s", go_version[0] if go_version else "go 1.26.0", f"require k8s.io/kubernetes v{version}"]
    return "\n\n".join([*head, "\n".join(["replace (", *lines, ")"])]) + "\n"


def compile_servers(version: str) -> None:
    """Once; a finished version is left alone."""
    out = folder(version)
    if all((out / "bin" / name).exists() for name in SERVERS):
        return
    go, source = build.find_go(), out / "source"
    shutil.rmtree(out, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copyfile(build.SOURCES / "k8s" / "tools.go", source / "tools.go")
    (source / "go.mod").write_text(_module(go, version, source))
    build._run([go, "mod", "tidy", "-e"], source)
    stamp = "k8s.io/component-base/version"
    minor = version.split(".")[1]
    flags = f"-s -w -X {stamp}.gitVersion=v{version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}"
    for name in SERVERS:
        print(f"building {name} {version} ...", flush=True)
        build._run([go, "build", "-mod=mod", "-ldflags", flags, "-o", f"{out}/bin/{name}.new", f"k8s.io/kubernetes/cmd/{name}"], source)
        (out / "bin" / f"{name}.new").replace(out / "bin" / name)


def main(arguments: list[str]) -> int:
    if not arguments or not re.fullmatch(r"1\.\d+\.\d+", arguments[0]):
        print("which Kubernetes? make test-kubernetes VERSION=1.35.4", file=sys.stderr)
        return 2
    version, *rest = arguments
    try:
        compile_servers(version)
    except build.BuildError as error:
        print(error, file=sys.stderr)
        return 1
    named = bool(rest) and Path(rest[0].partition("::")[0]).exists()
    command = [sys.executable, "-m", "tests.testbed.run", "-m", "cluster", *(() if named else TESTS), *rest]
    return subprocess.run(command, env={**os.environ, VARIABLE: version}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
