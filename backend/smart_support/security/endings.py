"""Sign-ins that were ended before their time."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Whose tokens hold no more: a person's that were issued at `ended_at` or before, or one."""

    whose: str
    ended_at: datetime
    forget_at: datetime
    """When none of them can be valid any more, whatever it says."""
