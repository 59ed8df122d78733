"""Nothing is sent that was not asked for, and nothing written but state, store and models, whatever a library does."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.commands import COMMAND, PATIENCE_SECONDS, Home, Running
from support.hub_stand_in import running_hub
from support.optional import needs
from support.traced import Trace

ROOT = Path(__file__).parents[2]
CI_MARKS = (
    "CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL", "CODEBUILD_BUILD_ID",
    "BUILDKITE", "TEAMCITY_VERSION", "APPVEYOR", "BITBUCKET_BUILD_NUMBER",
)  # fmt: skip
"""Where one of these is set, libraries keep quiet by themselves, and the tests below would show nothing."""
HARMLESS = ("/dev/null", "/memfd:", "/proc/")


@pytest.fixture
def quiet_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """As on a person's machine: an empty HOME, and nothing set that keeps libraries quiet."""
    for name in (*CI_MARKS, "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "DO_NOT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    (home.path / "person").mkdir()
    home.add_samples("cat.jpg", "coffee.jpg", "moon.png")
    with tempfile.TemporaryDirectory() as temporary:  # with a path short enough for a socket's
        home.environment |= {"HOME": str(home.path / "person"), "TMPDIR": temporary}
        yield home


def traced(home: Home, *arguments: str, expect: int = 0) -> Trace:
    """The trace of one command."""
    trace = Trace(home.path / f"trace-{arguments[0]}-{len(list(home.path.iterdir()))}", home.path)
    done = subprocess.run(
        [*trace.before, COMMAND, *arguments],
        cwd=home.path,
        env=home.full_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return trace


@contextlib.contextmanager
def traced_daemon(home: Home) -> Iterator[tuple[Running, Trace]]:
    """A daemon, ready; ended by SIGTERM at the end, when its trace is complete."""
    trace = Trace(home.path / "trace-run", home.path)
    with home.daemon(before=trace.before) as daemon:
        (started,) = daemon.events("daemon.started")
        try:
            yield daemon, trace
        finally:
            os.kill(started["pid"], signal.SIGTERM)  # strace itself takes no signals
            daemon.process.wait(PATIENCE_SECONDS)


def assert_quiet(trace: Trace, home: Home) -> None:
    """No packet left this machine, and no file was written outside state, store and models."""
    strange = {name for name in trace.foreign_addresses() if not is_ours(Path(name), home)}
    assert not strange - {"/var/run/nscd/socket"}  # where the C library looks for a user's name
    outside = {
        str(path)
        for path in trace.written()
        if not is_ours(path, home) and not str(path).startswith(HARMLESS) and path.suffix != ".pyc"
    }
    assert not {path for path in outside if "__pycache__" not in path}
    assert not list((home.path / "person").iterdir())
    assert not list(Path(home.environment["TMPDIR"]).iterdir())


def is_ours(path: Path, home: Home) -> bool:
    """In state, store or models, or temporary; the control socket is reached by a descriptor of its directory."""
    around = {path, *path.parents}
    ours = {home.path / "data", home.path / "models", Path(home.environment["TMPDIR"])}
    return bool(around & ours) or path.match("/proc/self/fd/*/control.sock")


@pytest.mark.slow
def test_with_the_embedded_store_no_command_sends_a_packet_or_writes_elsewhere(quiet_home: Home) -> None:
    home = quiet_home
    for arguments in (
        ("sync",),
        ("verify", "--deep"),
        ("search", "cat"),
        ("search", "--image", "images/cat.jpg"),
        ("status",),
        ("check",),
    ):
        assert_quiet(traced(home, *arguments), home)


@pytest.mark.slow
def test_neither_does_the_daemon_nor_who_asks_it(quiet_home: Home) -> None:
    home = quiet_home
    with traced_daemon(home) as (daemon, trace):
        home.wait_exact()
        for arguments in (("search", "cat"), ("verify",), ("sync",), ("check",)):
            assert_quiet(traced(home, *arguments), home)
        home.add_samples("rocket.jpg")
        home.wait_exact()
    assert_quiet(trace, home)
    assert daemon.events("daemon.stopped")  # each line of its log was JSON, or this would have failed


@pytest.mark.soak
def test_nor_does_a_daemon_that_has_run_for_minutes(quiet_home: Home) -> None:
    """ONNX Runtime's first message goes out within a minute of its start."""
    home = quiet_home
    with traced_daemon(home) as (daemon, trace):
        home.wait_exact()
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(150)
    assert_quiet(trace, home)


def test_importing_openvino_tells_nobody(quiet_home: Home) -> None:
    """Alone it tells Google Analytics of each import, from a process of its own, and keeps an id in ~/intel."""
    needs("openvino")
    home = quiet_home
    trace = Trace(home.path / "trace-openvino", home.path)
    code = "import sys, clipwatch, openvino; assert sys.modules['openvino_telemetry'] is None"
    environment = home.full_environment()
    subprocess.run([*trace.before, sys.executable, "-B", "-c", code], cwd=home.path, env=environment, check=True)
    assert_quiet(trace, home)


def test_fetching_a_model_asks_the_hub_for_that_model_alone(quiet_home: Home) -> None:
    """Alone, huggingface_hub also asks for a list of AI tools, and keeps it below ~/.cache."""
    home = quiet_home
    with running_hub("Xenova/clip-vit-base-patch32", {}) as hub:
        home.environment["HF_ENDPOINT"] = hub.endpoint
        trace = traced(home, "model", "fetch", "clip-vit-base-patch32", expect=2)
    assert hub.requests
    assert all(seen.path for seen in hub.requests)  # "" is what lies outside of the repository
    assert_quiet(trace, home)


@pytest.mark.parametrize("variable", ["ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"])
def test_the_environment_cannot_switch_it_on_again(variable: str) -> None:
    code = f"import os, clipwatch; print(os.environ[{variable!r}])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, variable: "0"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def imports(tree: ast.AST) -> set[str]:
    """The packages that a syntax tree imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_scripts_beside_the_package_import_such_libraries_only_where_they_are_kept_quiet() -> None:
    """`bench/reference.py`: by the environment that `bench.throughput.offline` gives; tests: by tests/conftest.py."""
    scripts = [*ROOT.glob("bench/**/*.py"), *ROOT.glob("models/**/*.py")]
    talkative = {"onnxruntime", "openvino", "fastembed", "optimum"}
    found = {
        str(script.relative_to(ROOT))
        for script in scripts
        if talkative & imports(ast.parse(script.read_text(encoding="utf-8")))
    }
    peers = {name for name in found if name.startswith("bench/peers/")}
    assert found - peers == {"bench/reference.py", "models/train/runtime.py"}
