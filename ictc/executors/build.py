"""The only function that knows which executors there are."""

from __future__ import annotations

from ictc.config import RunSettings
from ictc.executors.base import Executor, OpenImages
from ictc.executors.local import LocalExecutor


def build_executor(settings: RunSettings, open_images: OpenImages) -> Executor:
    """Return the executor that the settings ask for; it starts nothing yet.

    Args:
        open_images: gives access to the images; of another machine, from whatever folder.

    Raises:
        EngineLoadError: a package is missing.
    """
    if settings.executor.executor == "local":
        return LocalExecutor(settings, open_images)
    from ictc.executors.ray_executor import RayExecutor

    return RayExecutor(settings, open_images)
