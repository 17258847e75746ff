"""What the user may choose of a sample, and of the criteria that are tried on it."""

from __future__ import annotations

from pydantic import Field

from ictc.config import InputSettings, SettingsGroup
from ictc.config.groups import Location


class SuggestOptions(SettingsGroup):
    """How much is looked at, and tried."""

    num_images: int = Field(60, ge=4, description="Size of the sample.")
    max_criteria: int = Field(10, ge=1, le=50, description="Most criteria to try.")
    num_clusters: int = Field(5, ge=2, le=100, description="K, the most values that a criterion is tried with.")


class SampledImages(InputSettings):
    """Which images, if any: a run may be the source instead."""

    ads_dir: Location | None = Field(None, description=InputSettings.model_fields["ads_dir"].description)
