"""Files that were in hand when the program died: each is tried again alone, after everything else, with growing pauses.

The death of this process says next to nothing about them: files are decoded in processes of their own. Why it is so:
`docs/decisions/0006-files-in-hand-at-a-death.md`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from clipwatch.clock import Clock
from clipwatch.deaths import RunRecord, death_of, oom_kills
from clipwatch.mirror.notebook import Notebook, Suspicion
from clipwatch.records import Candidate

PAUSED_DEATHS: Final = 2
"""A file that was alone in hand at so many deaths is put aside for a while. One may be chance."""

FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 86400.0

LONGEST_WAIT_SECONDS: Final = 600.0
"""A suspect waits for everything else, but no longer than this: in a busy folder that would be for ever."""


def pause_seconds(deaths: int) -> float:
    """For how long a file is left alone after so many *deaths* that it was alone in hand at: 0, 0, 60, 120 … a day."""
    if deaths < PAUSED_DEATHS:
        return 0.0
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(deaths - PAUSED_DEATHS, 20))


@dataclass(frozen=True, slots=True)
class _Waiting:
    candidate: Candidate
    fresh: bool
    since: float


class Suspects:
    """Who is suspected, who waits to be tried alone, and who is being tried."""

    def __init__(self, notebook: Notebook, *, clock: Clock, logger: Any, crash_report: str = "") -> None:
        """*crash_report*: what the last run left where `faulthandler` writes; tells how that run ended."""
        self._notebook, self._clock = notebook, clock
        self._run = RunRecord(clock.moment().boot, oom_kills())
        before = notebook.begin_run(self._run)
        death = None
        if before is not None:
            death = death_of(before, boot=self._run.boot, kills=self._run.kills, crash_report=crash_report)
        self._known = {(item.folder, item.path): item for item in notebook.suspects(death)}
        if death is not None:
            logger.warning(
                "program.died",
                reason=death.cause,
                message=death.message,
                in_hand=len(self._known),
                report=crash_report,
            )
        self._waiting: deque[_Waiting] = deque()
        self._alone: Candidate | None = None

    def __bool__(self) -> bool:
        return bool(self._known)

    def note_kills(self) -> None:
        """Once in a while: what the kernel has ended until now will not explain our own death."""
        kills = oom_kills()
        if kills != self._run.kills:
            self._run = RunRecord(self._run.boot, kills)
            self._notebook.note_run(self._run)

    def deaths(self, candidate: Candidate) -> int | None:
        """How many deaths this very file was alone in hand at; None where it is not suspected."""
        known = self._known.get(_key(candidate))
        if known is None:
            return None
        return known.deaths if known.signature == candidate.stat.signature.pack() else 0

    def pause_left(self, candidate: Candidate) -> float:
        """For how many seconds it is left alone from now on."""
        known, deaths = self._known.get(_key(candidate)), self.deaths(candidate)
        now = self._clock.moment()
        if known is None or not deaths or known.tried.boot != now.boot:
            return 0.0
        return max(0.0, pause_seconds(deaths) - now.after(known.tried))

    def wait_alone(self, candidate: Candidate, *, fresh: bool) -> None:
        """It waits here until `next_alone`."""
        self._waiting.append(_Waiting(candidate, fresh, self._clock.monotonic()))

    @property
    def waiting(self) -> int:
        """Suspects that wait to be tried alone."""
        return len(self._waiting)

    @property
    def keep_others_back(self) -> bool:
        """Whether nobody else may be taken now."""
        return self._alone is not None or self._overdue

    @property
    def _overdue(self) -> bool:
        return bool(self._waiting) and self._clock.monotonic() - self._waiting[0].since >= LONGEST_WAIT_SECONDS

    def next_alone(self, *, all_else_done: bool) -> tuple[Candidate, bool] | None:
        """The next one to try, and whether it is fresh; to be asked only while nothing else is in hand."""
        if self._alone is not None or not self._waiting or not (all_else_done or self._overdue):
            return None
        waiting = self._waiting.popleft()
        self._alone = waiting.candidate
        self._begin([waiting.candidate], alone=True)
        return waiting.candidate, waiting.fresh

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """They are taken up together from here on."""
        if candidates:
            self._begin(candidates, alone=False)

    def _begin(self, candidates: Sequence[Candidate], *, alone: bool) -> None:
        files = [(*_key(candidate), candidate.stat.signature.pack()) for candidate in candidates]
        self._notebook.begin(files, self._clock.moment(), alone=alone)

    def done(self, candidates: Sequence[Candidate]) -> None:
        """Whatever comes of them now, these files can no longer bring the program down."""
        for candidate in candidates:
            self._known.pop(_key(candidate), None)
            self._no_longer_alone(candidate)
        self._notebook.end([_key(candidate) for candidate in candidates])

    def not_tried(self, candidate: Candidate) -> None:
        """It was to be tried alone and could not even be opened: nothing is known that was not before."""
        self._no_longer_alone(candidate)
        self._notebook.blame(_key(candidate), self.deaths(candidate) or 0)

    def killed(self, candidate: Candidate) -> int:
        """Its decoder was killed and we live on: it is a suspect now. How many deaths it was alone in hand at."""
        key, signature = _key(candidate), candidate.stat.signature.pack()
        deaths = (self.deaths(candidate) or 0) + self._is_alone(candidate)
        self._known[key] = Suspicion(*key, signature, deaths, self._clock.moment())
        self._no_longer_alone(candidate)
        self._notebook.blame(key, deaths)
        return deaths

    def _no_longer_alone(self, candidate: Candidate) -> None:
        if self._is_alone(candidate):
            self._alone = None

    def _is_alone(self, candidate: Candidate) -> bool:
        return self._alone is not None and _key(candidate) == _key(self._alone)

    def acquit(self, folder: str, waiting: Container[bytes]) -> None:
        """All is done in *folder* but what is *waiting*: a suspect that is not among that is gone."""
        gone = [key for key in self._known if key[0] == folder and key[1] not in waiting]
        for key in gone:
            del self._known[key]
        if gone:
            self._notebook.end(gone)

    def forget_deaths(self) -> None:
        """Other limits: what happened under the old ones counts no more."""
        self._known = {key: replace(item, deaths=0) for key, item in self._known.items()}

    def end(self) -> None:
        """An end in good order is nobody's fault."""
        self._notebook.end_run()


def _key(candidate: Candidate) -> tuple[str, bytes]:
    return candidate.folder, candidate.path
