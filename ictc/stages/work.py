"""An image on its way into a map stage, before anything of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class WorkItem(Generic[ItemT]):
    """One image that enters a stage.

    Attributes:
        input_digest: digest of everything about this image that its outcome depends on.
        load: reads what the stage needs of the image.
    """

    image_id: str
    input_digest: str
    load: Callable[[], ItemT]
