"""Every error that ictc raises on purpose, one class for each decision of the caller.

    IctcError                  one line for the user: what, where, what to do
    ├── ConfigError            the command or configuration must change (exit code 2)
    ├── InputError             the images or their metadata must change
    ├── AccessError            the images can't be read for too long; the run stops, finished records are kept
    ├── TrackError             a track module must change
    ├── GroupingError          labels can't be grouped as asked: other groups, or another guide
    ├── EngineError            the engine cannot go on; the run stops, finished records are kept
    │   ├── EngineLoadError    it never started: wrong model, no memory, no GPU, no server
    │   ├── EngineDeadError    it died on the way; restarting it may help
    │   └── EngineUnavailableError   the servers behind it do not answer; restarting it does not help
    ├── StorageError           the run directory cannot be read or written
    └── StageError             a step has no valid outcome
        └── InvalidAnswer      one answer of a model does not satisfy its request; retried, then rejected

An error of one item is no exception: engines return `ItemError` (`ictc.engines.base`), stages
record a `Rejection` (`ictc.records`), and the run goes on.
"""


class IctcError(Exception):
    """Base of all errors that ictc raises on purpose; `str(error)` is one line for the user."""

    exit_code = 1


class ConfigError(IctcError):
    """The command line or the configuration asks for something impossible."""

    exit_code = 2


class InputError(IctcError):
    """The images or their metadata cannot be used as they are."""


class AccessError(IctcError):
    """No image can be read for longer than the user wants to wait; the same command goes on once they can be."""


class TrackError(IctcError):
    """A track module cannot be loaded or is incomplete."""


class GroupingError(IctcError):
    """Labels cannot be grouped as they are or as asked."""


class EngineError(IctcError):
    """The engine as a whole cannot go on; records that had finished are kept."""


class EngineLoadError(EngineError):
    """The engine did not start."""


class EngineDeadError(EngineError):
    """The engine stopped working during a run; it can be started anew.

    Attributes:
        in_flight: ids of the requests that it had, None if those are all that were in flight.
    """

    def __init__(self, message: str, in_flight: frozenset[str] | None = None) -> None:
        super().__init__(message)
        self.in_flight = in_flight


class EngineUnavailableError(EngineError):
    """The servers behind the engine stopped answering during a run; they are not ours to restart."""


class StorageError(IctcError):
    """The run directory cannot be read or written."""


class StageError(IctcError):
    """A step ended without a valid outcome."""


class InvalidAnswer(StageError):
    """A model's answer does not satisfy its request."""
