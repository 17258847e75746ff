"""`--config run.yaml`: any flags of the command, under their names without the dashes."""

from __future__ import annotations

from pathlib import Path

import yaml
from cyclopts import App, ArgumentCollection
from cyclopts.config import Yaml

from ictc.errors import ConfigError


def read_config_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from the file that `--config` names whatever the command line leaves out.

    Raises:
        ConfigError: the file is missing or no YAML mapping of flags.
    """
    tokens = [token for argument in arguments if argument.name == "--config" for token in argument.tokens]
    if not tokens:
        return
    path = Path(tokens[-1].value)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: must map flags to values, such as `num_clusters: 8`")
    Yaml(path, must_exist=True, use_commands_as_keys=False)(app, commands, arguments)
