"""Each rule of the ledger is broken once, in a copy; the tests that are named must notice.

Takes a minute or so per rule, so that it runs with `make soak` only.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[2]
PACKAGE = Path("backend/smart_support")
SOAK = settings.get_current_profile_name() == "soak"


@dataclass(frozen=True)
class Mutant:
    """`before` in `file` becomes `after`; `caught_by` are tests as pytest names them."""

    rule: str
    file: str
    before: str
    after: str
    caught_by: str


CALL = "tests/tools/test_call.py"
KINDS = "tests/tools/test_call_kinds.py"
CUT = "tests/tools/test_call_ledger.py"
LEDGER = "tests/ledger/test_ledger.py"
UNKNOWN = "tests/ledger/test_unknown.py"
RECOVERY = "tests/chat/test_recovery.py"
DEPARTURES = "tests/ledger/test_departures.py"

MUTANTS = [
    Mutant(
        "a write is in the ledger before it is sent",
        "tools/call.py",
        "before_sending=before_sending if writes or classification.confirm else None",
        "before_sending=None",
        f"{CALL}::TestWrites::test_are_in_the_ledger_before_they_are_sent",
    ),
    Mutant(
        "a yes is used once",
        "ledger/consent_postgres.py",
        ".values(state=ApprovalState.USED.value)",
        ".values(state=ApprovalState.APPROVED.value)",
        f"{LEDGER}::TestSending::test_uses_the_approval_up tests/chat/test_approvals.py",
    ),
    Mutant(
        "a call said twice in a turn has one key",
        "ledger/records.py",
        'asked = approval_id_of(self.id) if self.asks else "unasked"',
        "asked = approval_id_of(self.id)",
        f"{CALL}::TestWrites::test_said_twice_in_a_turn_are_made_once",
    ),
    Mutant(
        "a new approval is a new key",
        "ledger/records.py",
        'asked = approval_id_of(self.id) if self.asks else "unasked"',
        'asked = "unasked"',
        f"{LEDGER}::TestSending::test_a_new_approval_is_a_new_effect",
    ),
    Mutant(
        "other arguments under one id are refused",
        "ledger/postgres.py",
        "if known is not None and known.fingerprint == call.fingerprint:",
        "if known is not None:",
        f"{LEDGER}::TestSending::test_the_same_call_with_other_arguments_is_refused",
    ),
    Mutant(
        "what was never sent has failed",
        "ledger/postgres.py",
        "_OPEN_BEFORE_FAILURE = [CallState.PLANNED.value, CallState.APPROVED.value, "
        "CallState.SENT.value]",
        "_OPEN_BEFORE_FAILURE = [CallState.PLANNED.value]",
        f"{CALL} tests/chat/test_approvals.py",
    ),
    Mutant(
        "moves are compare-and-set",
        "ledger/postgres.py",
        ".where(tool_calls.c.id == call_id, tool_calls.c.state == before.value)",
        ".where(tool_calls.c.id == call_id)",
        LEDGER,
    ),
    Mutant(
        "a crash in sent is ambiguous",
        "ledger/postgres.py",
        "tool_calls.c.state == CallState.SENT.value,",
        "tool_calls.c.state == CallState.DONE.value,",
        f"{LEDGER}::TestLosing",
    ),
    Mutant(
        "a call is resolved once",
        "ledger/unknown_postgres.py",
        "                        tool_calls.c.state == CallState.AMBIGUOUS.value,\n"
        "                    )\n                    .values(\n                        state=_ENDS",
        "                    )\n                    .values(\n                        state=_ENDS",
        f"{UNKNOWN}::TestResolving",
    ),
    Mutant(
        "a write without a key is sent once",
        "tools/planning.py",
        "return classification.access is Access.READ or operation.method in _IDEMPOTENT_METHODS",
        "return True",
        f"{CALL}::TestWrites::test_get_one_attempt_and_an_unclear_end_is_unknown",
    ),
    Mutant(
        "a keyed call is sent again within the life of its key only",
        "tools/resolve.py",
        "self._clock() + last >= call.keyed_until",
        "False",
        f"{KINDS}::TestFindingOut::test_does_not_when_the_api_may_have_forgotten_the_key",
    ),
    Mutant(
        "a conflict proves nothing",
        "tools/resolve.py",
        "_CONFLICTS = {409, 422}",
        "_CONFLICTS: set[int] = set()",
        f"{KINDS}::TestFindingOut::test_a_conflict_proves_nothing",
    ),
    Mutant(
        "absence counts after a while only",
        "tools/resolve.py",
        "if self._clock() < sent_at + SETTLED:",
        "if self._clock() < sent_at:",
        f"{KINDS}::TestFindingOut::test_waits_before_it_believes_that_nothing_came",
    ),
    Mutant(
        "202 is not done",
        "tools/call.py",
        "if got.status == 202 and plan.writes:",
        "if got.status == 999 and plan.writes:",
        f"{KINDS}::TestAccepted",
    ),
    Mutant(
        "a stop counts in the transaction that sends",
        "ledger/postgres.py",
        "await refuse_stopped(session, operation_id=call.operation_id, api_id=call.api_id)",
        "",
        f"{KINDS}::TestSwitchedOff::test_by_another_process_counts_at_the_next_call",
    ),
    Mutant(
        "a stop counts for reads",
        "tools/call.py",
        "await self._refuse_stopped(planned)",
        "pass",
        f"{KINDS}::TestSwitchedOff::test_nothing_is_sent",
    ),
    Mutant(
        "what was reviewed goes before the method",
        "tools/planning.py",
        "if classification.repeatable is not None:",
        "if False:",
        f"{KINDS}::TestWhatIsReviewed::test_decides_whether_a_call_is_repeated",
    ),
    Mutant(
        "a call that is stopped on its way is unknown",
        "tools/call.py",
        "unclear = writes and marked and not recorder.surely_without_effect()",
        "unclear = False",
        f"{CALL}::TestWrites::test_that_are_stopped_on_their_way_are_unknown",
    ),
    Mutant(
        "what the ledger is writing is written to its end, however often the call is stopped",
        "tools/call.py",
        "while not task.done():",
        "if not task.done():",
        f"{CUT}::TestStoppedWhileTheLedgerWrites",
    ),
    Mutant(
        "nothing is sent while the ledger cannot be written",
        "tools/call.py",
        "await _whole(marking)",
        "await asyncio.wait([asyncio.ensure_future(marking)])",
        f"{CUT}::TestCutOffBeforeItLeaves",
    ),
    Mutant(
        "what surely never left is taken back by who knows it",
        "chat/recovery.py",
        "await self._runner.take_back_unsent()",
        "pass",
        f"{CUT}::TestTheAcknowledgementIsLost",
    ),
    Mutant(
        "what a dead process did not let leave is made by who comes after it",
        "chat/calls.py",
        "if self._departures.never_left(call.sent_by, call.id):",
        "if False:",
        f"{CUT}::TestTheAcknowledgementIsLost",
    ),
    Mutant(
        "a call that leaves is noted before",
        "tools/call.py",
        "self._leaves(planned.id)",
        "pass",
        RECOVERY,
    ),
    Mutant(
        "a living process may just be about to send",
        "ledger/departures.py",
        "fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)\n                return f",
        "return f",
        DEPARTURES,
    ),
    Mutant(
        "the version is that of the same thing, the last one read",
        "ledger/postgres.py",
        "tool_calls.c.finished_at.desc()",
        "tool_calls.c.finished_at",
        f"{KINDS}::TestVersions",
    ),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, to be broken. Its environment is the one that runs this."""
    folder = tmp_path_factory.mktemp("mutants")
    for name in ("backend", "tests", "migrations"):
        leave_out = shutil.ignore_patterns("__pycache__", "static", "node_modules")
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_each_stands_for_a_rule_of_the_code_as_it_is(mutant: Mutant) -> None:
    assert (ROOT / PACKAGE / mutant.file).read_text().count(mutant.before) >= 1
    for named in mutant.caught_by.split():
        file, *names = named.split("::")
        text = (ROOT / file).read_text()
        assert all(name in text for name in names), named


@pytest.mark.skipif(not SOAK, reason="a minute per rule: make soak")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_is_caught(mutant: Mutant, copy: Path) -> None:
    broken = copy / PACKAGE / mutant.file
    whole = broken.read_text()
    broken.write_text(whole.replace(mutant.before, mutant.after))
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", *mutant.caught_by.split()],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": "backend", "HYPOTHESIS_PROFILE": "ours"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        broken.write_text(whole)

    assert ran.returncode == 1, ran.stdout[-3_000:]
