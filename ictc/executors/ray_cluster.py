"""The connection to a Ray cluster: how it is joined, what it has, and what its errors mean in one line.

Knows Ray and nothing of images. Importing this module imports no Ray.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import os
import re
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ictc.config import ModelSpec
from ictc.errors import EngineError, EngineLoadError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
PIPELINE_THREADS = ("StreamingExecutor", "iter_threaded")
PIPELINE_END_S = 10.0
OUTLIVES_ITS_PROCESS = {"max_restarts": 3, "max_task_retries": 3}
"""As often as Ray tries a task again."""
ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception)\b: .+$", re.MULTILINE)


def load_ray() -> Any:
    """Return the package, as one whose types nobody checks: they are incomplete."""
    return importlib.import_module("ray")


class LogStream(io.TextIOBase):
    """Takes for the log what Ray prints while a step runs, such as the last words of a lost node."""

    def write(self, text: str) -> int:
        """Log what has words."""
        if text.strip():
            logger.info("ray: %s", text.strip())
        return len(text)


class ToOurLog(logging.Handler):
    """Hands on what Ray has to say as something of ours that is no warning: it goes to the log file only."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record again."""
        logger.info("%s: %s", record.name, record.getMessage())


def connect(address: str) -> None:
    """Join the cluster at `address`, or start one on this machine for "local". Blocks.

    Raises:
        EngineLoadError: Ray is missing, or there is no cluster that fits.
    """
    if importlib.util.find_spec("ray") is None:
        raise EngineLoadError("Ray is not installed: pip install 'ictc[ray]', or use --executor local")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ part writes to the terminal
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # what it cleans up after the end would start a cluster
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns that this will be so
    host, _, port = address.rpartition(":")
    if host:
        check_reachable(address, host=host.strip("[]"), port=port)
    elif address == "auto":
        check_remembered()
    ray = load_ray()
    try:
        with terminal_in_log(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineLoadError(explain_connection(address, error)) from error
    capture_logs()


@contextmanager
def terminal_in_log() -> Iterator[None]:
    """Log what is written to the terminal in the block, from whatever language."""
    with tempfile.TemporaryFile() as said:
        kept = {stream: os.dup(stream) for stream in (1, 2)}
        try:
            for stream in kept:
                os.dup2(said.fileno(), stream)
            yield
        finally:
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)
            said.seek(0)
            for line in said.read().decode(errors="replace").splitlines():
                logger.info("ray: %s", line)


def take_signals_back() -> None:
    """Have signals handled as before `connect`: Ray's C++ part takes SIGTERM for a crash. For the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.getsignal(number))


def check_reachable(address: str, *, host: str, port: str) -> None:
    """Find out in seconds what Ray would take minutes for.

    Raises:
        EngineLoadError: nobody listens there.
    """
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise EngineLoadError(
            f"--ray_address {address}: no Ray cluster answers there ({cause}); its head says the address when it starts"
        ) from None


def check_remembered() -> None:
    """Find out whether anybody answers where Ray was started last: where a head was killed, Ray asks there for ever.

    Raises:
        EngineLoadError: nobody does.
    """
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))  # as Ray has it
    file = Path(folder) / "ray" / "ray_current_cluster"
    if os.environ.get("RAY_ADDRESS") or not file.is_file():
        return
    address = file.read_text().strip()
    host, _, port = address.rpartition(":")
    try:
        check_reachable(address, host=host.strip("[]"), port=port)
    except EngineLoadError:
        raise EngineLoadError(
            f"--ray_address auto: no Ray cluster answers at {address}, where the last one here was ({file}); "
            "start one with `ray start --head`, give host:port, or --ray_address local"
        ) from None


def explain_connection(address: str, error: Exception) -> str:
    """Return in one line why a cluster could not be joined."""
    text = " ".join(str(error).split())
    if "ersion mismatch" in text:
        return f"--ray_address {address}: all machines need the same versions of Ray and Python: {text}"
    if isinstance(error, ConnectionError) and ":" in address:
        return (
            f"--ray_address {address}: somebody answers there, but lets nobody in; if it is a Ray cluster that wants a "
            "token, copy ~/.ray/auth_token from its head and set RAY_AUTH_MODE=token"
        )
    if isinstance(error, ConnectionError):
        return (
            f"--ray_address {address}: no Ray cluster is running on this machine; start one with `ray start --head`, "
            "give host:port, or --ray_address local"
        )
    return f"--ray_address {address}: {text}"


def capture_logs() -> None:
    """Send what Ray says to our log, and have it draw no progress bars of its own."""
    import ray.data

    for name in ("ray", "ray.data"):
        log = logging.getLogger(name)
        log.handlers = [ToOurLog(logging.WARNING)]
        log.propagate = False
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False


def engine_resources(spec: ModelSpec) -> dict[str, float]:
    """Return what Ray is to reserve for one engine.

    Raises:
        EngineLoadError: the cluster has no GPU, and vLLM needs one there.
    """
    ray = load_ray()
    if spec.engine != "vllm":
        return {"num_cpus": 0}
    num_gpus = spec.tensor_parallel_size or spec.num_gpus or 1
    has = ray.cluster_resources()
    if has.get("GPU", 0) >= num_gpus:
        return {"num_gpus": num_gpus}
    if not has.get("GPU") and ray.get(ray.remote(_runs_on_cpu).options(max_retries=0).remote()):
        return {"num_cpus": 1}
    raise EngineLoadError(
        f"{spec.model} is to run on {num_gpus} GPUs an engine, and the Ray cluster has {describe(has)}; add GPU nodes, "
        "or choose another --vlm_tp, --llm_tp or --engine"
    )


def _runs_on_cpu() -> bool:
    """Return whether the cluster's vLLM is the build for CPUs."""
    from ictc.engines.vllm import import_vllm

    try:
        return import_vllm() is None
    except EngineLoadError:
        return False


def describe(resources: Mapping[str, float]) -> str:
    """Return what a cluster has, for people."""
    ray = load_ray()
    nodes = sum(node["Alive"] for node in ray.nodes())
    counts = (f"{resources.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
    return f"{nodes} node{'s' * (nodes != 1)} with {' and '.join(counts)}"


def count_cpus() -> int:
    """Return how many CPUs the cluster has now, at least one."""
    ray = load_ray()
    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def count_engines(replicas: int | None, resources: Mapping[str, float]) -> tuple[int, int]:
    """Return how many engines the cluster holds now, at least one, and how many there may be when it grows."""
    ray = load_ray()
    if not resources.get("num_gpus"):
        return replicas or 1, replicas or 1
    fit = max(1, int(ray.cluster_resources().get("GPU", 0) // resources["num_gpus"]))
    return min(fit, replicas or fit), replicas or fit


def explain_failure(error: Exception) -> EngineError:
    """Return in one line why Ray gave up."""
    text = str(error)
    if "No module named" in text:
        module = text.partition("No module named")[2].split()[0].strip("'\".,")
        return EngineLoadError(
            f"the nodes of the Ray cluster lack {module!r}: install the same environment on all of them"
        )
    first = ERROR_LINE.search(text)  # those below it in a traceback are what it led to
    cause = first.group() if first else f"{type(error).__name__}: {text}"
    return EngineError(f"Ray gave up ({cause[:300]}); run the same command again to go on, and see the log")


def disconnect() -> None:
    """Leave the cluster, or end the one that was started for the run. Blocks."""
    ray = load_ray()
    end_pipelines()
    ray.shutdown()


def end_pipelines() -> None:
    """End what still runs of Ray Data: a thread of it that finds the connection gone ends this process, in silence."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(PIPELINE_THREADS)]
    for thread in threads:
        if hasattr(thread, "shutdown"):
            thread.shutdown(force=False)
    for thread in threads:
        thread.join(PIPELINE_END_S)


class RemoteObject:
    """An object on the cluster that is made where it is first called, and made anew if its process dies."""

    def __init__(self, kind: type[Any], resources: Mapping[str, float], *arguments: Any) -> None:
        """Note what to make.

        Args:
            kind: its class, with `close` among its methods.
        """
        self._kind, self._arguments = kind, arguments
        self._options = {**resources, **OUTLIVES_ITS_PROCESS}
        self._handle: Any = None

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what a method returns. Blocks.

        Raises:
            EngineError: Ray gave up.
        """
        ray = load_ray()
        if self._handle is None:
            self._handle = ray.remote(**self._options)(self._kind).remote(*self._arguments)
        try:
            return ray.get(getattr(self._handle, method).remote(*arguments))
        except ray.exceptions.RayError as error:
            raise explain_failure(error) from error

    def end(self) -> None:
        """Close the object and end its process, so that others have its place. Blocks."""
        if self._handle is None:
            return
        with suppress(EngineError):  # what is gone needs no end
            self.call("close")
        load_ray().kill(self._handle)
        self._handle = None
