"""What `--engine_options` may hold for the `openai` engine, checked before anything is asked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ictc.errors import ConfigError
from ictc.secrecy import MASK, find_masked, keep_secrets_in


class OpenAIOptions(BaseModel):
    """What `--engine_options` may hold for this engine.

    Attributes:
        api_key_env: environment variable that holds the API key.
        timeout_s: for one try of one request.
        max_retries: tries after the first, on errors of the server, time-outs and broken connections.
        max_pause_s: longest time that a server may ask to wait, without an answer in between.
        max_outage_s: longest time that a server may be down.
        window: requests in flight at each server.
        extra_body: further fields of every request, handed on as they are.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    max_retries: Annotated[int, Field(ge=0)] = 4
    max_pause_s: Annotated[float, Field(ge=0)] = 3600.0
    max_outage_s: Annotated[float, Field(ge=0)] = 600.0
    window: Annotated[int, Field(ge=1)] = 64
    extra_body: dict[str, Any] = {}


def parse_options(options: Mapping[str, Any]) -> OpenAIOptions:
    """Check the options of this engine.

    Raises:
        ConfigError: an option is unknown or out of range, or its secret was left out of a file.
    """
    keep_secrets_in(options)
    known = list(OpenAIOptions.model_fields)
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"--engine_options: engine openai has no option {name!r}, the nearest is {nearest!r}; "
                f"it takes {', '.join(known)}, and any field of a request inside extra_body"
            )
    try:
        valid = OpenAIOptions.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--engine_options: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    masked = find_masked(valid.extra_body)
    if masked is not None:
        raise ConfigError(
            f"--engine_options: {masked} is {MASK}: no file of a run keeps a secret, so give the run's own command "
            "again, or keep the key in an environment variable (api_key_env)"
        )
    return valid
