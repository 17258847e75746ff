"""Every setting once: name, default, range and help. The command line and `--config` are generated from here.

Knows names and ranges only; what needs the disk, a GPU or a model is checked where it is used.
"""

from ictc.config.base import SettingsGroup
from ictc.config.engine import Dtype, EngineName, EngineSettings, ModelSpec, Quantization
from ictc.config.groups import (
    ClusteringSettings,
    ControlSettings,
    InputSettings,
    OutputSettings,
)
from ictc.config.run import RunSettings

__all__ = [
    "ClusteringSettings",
    "ControlSettings",
    "Dtype",
    "EngineName",
    "EngineSettings",
    "InputSettings",
    "ModelSpec",
    "OutputSettings",
    "Quantization",
    "RunSettings",
    "SettingsGroup",
]
