"""How many turns a process can answer at once, and how many it gets done, by measurement.

A turn mostly waits for the model, so that how long it takes says little about the processor. How
late the event loop comes to what it has to do says it: with too many turns at work each of them
waits for all others between two of its steps. That is a queue, and it is kept short as queues of
packets are.

Sources: Nichols, Jacobson, "Controlled Delay Active Queue Management" (RFC 8289, 2018): the least
delay of an interval tells a queue that stands from a burst that passes. Zhou et al., "Overload
Control for Scaling WeChat Microservices" (SoCC 2018): the delay in one's own queue, not the time of
the answer, which is others' as well. Chiu, Jain, "Analysis of the Increase and Decrease Algorithms
for Congestion Avoidance" (1989), and the step of a square root from Netflix's concurrency-limits.
"""

import math

LEAST = 32
"""Turns that are answered at once however late the loop is: what makes it late may not be turns,
and fewer have less in common that is done for several of them in one go."""

LATE = 0.005
"""Seconds of lateness in every moment of an interval that are too many: RFC 8289's target."""

EARLY = 0.5
"""Share of `LATE` below which there is room for more. Between the two nothing changes."""

SAMPLES = 10
"""Moments of an interval."""

LESS = 7 / 8
"""What is left of the number after an interval that was late."""


class Pace:
    """How many turns may be answered at once: fewer while the loop is late, more while it is not.

    Doubled in each interval until the loop is late for the first time, as TCP begins.
    """

    def __init__(self, most: int, *, least: int = LEAST) -> None:
        """Begins with the `least`; `most` bounds it, above all else."""
        self._most = most
        self._least = min(least, most)
        self._steep = True
        self._samples = 0
        self._latest = math.inf
        self.at_once = self._least
        """How many turns may be answered at once now."""

    def take(self, late: float, *, taken: int, waiting: int) -> bool:
        """Take note of how late a moment came, in seconds; True if more may begin from now on.

        `taken` turns are at work then, and as many wait as `waiting` says.
        """
        self._samples += 1
        self._latest = min(self._latest, late)
        if self._samples < SAMPLES:
            return False
        late, self._latest, self._samples = self._latest, math.inf, 0
        if late > LATE:
            self._steep = False
            if taken <= self.at_once:  # else the last step down has not done its work yet
                self.at_once = max(self._least, int(self.at_once * LESS))
            return False
        # What nobody asked for was not tried: it says nothing about what there is room for.
        if late > LATE * EARLY or not waiting or taken < self.at_once:
            return False
        step = self.at_once if self._steep else math.isqrt(self.at_once)
        self.at_once = min(self._most, self.at_once + step)
        return True


FADES = 15.0
"""Seconds in which what was seen counts for a third."""

SEEN = 3.0
"""Seconds with a line that it takes to know how fast it moves."""


class Throughput:
    """How many turns a second leave their places while others wait: how fast the line moves.

    Turns that end while nobody waits say nothing about it. What was seen fades.
    """

    def __init__(self, now: float) -> None:
        self._at = now
        self._waiting = False
        self._ended = 0.0
        self._seconds = 0.0

    def see(self, now: float, *, waiting: bool, ended: int = 0) -> None:
        """So many turns have `ended` since the last time; whether any wait `waiting` from here."""
        kept = math.exp(-max(0.0, now - self._at) / FADES)
        self._ended *= kept
        self._seconds *= kept
        if self._waiting:
            self._ended += ended
            self._seconds += FADES * (1.0 - kept)
        self._at, self._waiting = now, waiting

    def per_second(self, at_once: int) -> float | None:
        """Turns a second; None if too little was seen: less than half of the turns `at_once`."""
        if self._seconds < SEEN or self._ended < at_once / 2:
            return None
        return self._ended / self._seconds
