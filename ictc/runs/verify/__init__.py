"""What `ictc verify` proves of a run directory, without changing it: checksums, accounting, keys, exports."""

from ictc.runs.verify.directory import verify
from ictc.steps.finding import Finding

__all__ = ["Finding", "verify"]
