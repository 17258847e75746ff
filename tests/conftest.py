"""What tests of any module may need: tiny checkpoints, and an environment in which the real vLLM runs on a CPU."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import support.torchvision_hook.sitecustomize as torchvision_hook
from support.cli import Ictc
from support.fork_server import ForkServer
from support.scripted_run import Reference, ScriptedRun, draw_ads, run_undisturbed
from support.tiny_qwen import build_tiny_checkpoint

from ictc.engines.base import GenerationRequest, GenerationResult, Task
from ictc.engines.scripted import ScriptedEngine

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # no test asks the model hub
    "TORCHDYNAMO_DISABLE": "1",  # compiling takes longer than a tiny model saves, and needs a C++ compiler
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
}

LONG = {"test_lite.py", "test_sameness.py", "test_crashes.py"}
"""The files without a large engine that take minutes."""


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment of this process and of all that tests start; a busy machine is no failure of a property."""
    hypothesis.settings.register_profile(
        "shared_machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("shared_machine")
    config.addinivalue_line("filterwarnings", "ignore:Unclosed context <zmq:ResourceWarning")  # vLLM's, at its end
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    hook = str(Path(torchvision_hook.__file__).parent)  # at work in this process since its import above
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [hook, os.environ.get("PYTHONPATH")]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take longest, above all those that load a large engine."""
    engines = {item.path for item in items if loads_engine(item)}
    items.sort(key=lambda item: (item.path not in engines, item.path.name not in LONG))


def loads_engine(item: pytest.Item) -> bool:
    """Whether a test loads vLLM, or may start a Ray cluster."""
    return item.get_closest_marker("vllm") is not None or item.path.parent.name == "executors"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3.5 of 0.9 million random weights that sees images."""
    return build_checkpoint(tmp_path_factory, "tiny-qwen3.5", vision=True)


@pytest.fixture(scope="session")
def tiny_text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of random weights that reads text only."""
    return build_checkpoint(tmp_path_factory, "tiny-qwen3", vision=False)


def build_checkpoint(tmp_path_factory: pytest.TempPathFactory, name: str, vision: bool) -> Path:
    pytest.importorskip("transformers")
    return build_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / name, vision=vision, num_phrases=4000)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """What starts `ictc` in a fraction of a second, with faults if asked to."""
    with ForkServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def drawn_ads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection that scripted runs are about."""
    return draw_ads(tmp_path_factory.mktemp("collection") / "ads")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a run goes."""
    return tmp_path / "out"


@pytest.fixture
def ictc(capsys: pytest.CaptureFixture[str]) -> Ictc:
    """The commands, in this process."""
    return Ictc(capsys)


@pytest.fixture(scope="session")
def reference(fork_server: ForkServer, drawn_ads: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """What a scripted run gives that nothing disturbs."""
    out = tmp_path_factory.mktemp("reference") / "out"
    return run_undisturbed(ScriptedRun(fork_server, drawn_ads, out, quickly=False))


@pytest.fixture
def run(fork_server: ForkServer, drawn_ads: Path, tmp_path: Path) -> ScriptedRun:
    """A scripted run that has not begun, to be disturbed."""
    return ScriptedRun(fork_server, drawn_ads, tmp_path / "out")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[Task]:
    """How often the scripted engine of this process was asked, by task."""
    counts: Counter[Task] = Counter()
    answer = ScriptedEngine._answer

    async def count(engine: ScriptedEngine, request: GenerationRequest) -> GenerationResult:
        counts[request.task] += 1
        return await answer(engine, request)

    monkeypatch.setattr(ScriptedEngine, "_answer", count)
    return counts
