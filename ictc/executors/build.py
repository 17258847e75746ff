"""The only function that knows which executors there are."""

from __future__ import annotations

from ictc.config import RunSettings
from ictc.executors.base import Executor, ImageAccess, Note
from ictc.executors.local import LocalExecutor


def build_executor(settings: RunSettings, images: ImageAccess, note: Note, requests_per_image: int = 1) -> Executor:
    """Return the executor that the settings ask for; it starts nothing yet.

    Args:
        images: gives access to the images; on another machine, from whatever folder.
        note: told in a line what the engines have chosen from the hardware.
        requests_per_image: how many requests in a row will be about the same image.

    Raises:
        EngineLoadError: a package is missing.
    """
    if settings.executor.executor == "local":
        return LocalExecutor(
            engine=settings.engine,
            control=settings.control,
            images=images,
            note=note,
            requests_per_image=requests_per_image,
        )
    from ictc.executors.ray_executor import RayExecutor

    return RayExecutor(
        engine=settings.engine,
        control=settings.control,
        images=images,
        address=settings.executor.ray_address or "auto",
        requests_per_image=requests_per_image,
    )
