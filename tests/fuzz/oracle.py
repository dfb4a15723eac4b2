"""What may come of a case: an answer, or one line that says what is wrong; nothing else, and nothing half-written."""

import re
import warnings
from pathlib import Path

from command_line import call

from .targets import Target

LONGEST = 1500  # letters of a message
REUSED = re.compile(r"^ablated/made/inputs-\w+\.npz$")  # which the runs that are there were given
ALLOWED = (0, 2, 130)
LEFT_OVER = re.compile(r"(^|/)\.partial-|\.partial(/|$)|\.lock$|\.tmp")


def place_of(error: BaseException) -> str:
    """The last line of the package that an exception went through: what failures are counted by."""
    steps, trace = [], error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/tests/" not in name:
            steps.append((name, trace.tb_lineno))
        trace = trace.tb_next
    own = [step for step in steps if "/pyrogrn/" in step[0] and "site-packages" not in step[0]]
    name, line = (own or steps or [("?", 0)])[-1]
    return f"{type(error).__name__} at {name.rpartition('/pyrogrn/')[2]}:{line} ({' '.join(str(error).split())[:160]})"


def listed(folder: Path) -> set[str]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def judge(target: Target, words: list[str], folder: Path) -> tuple[str, str]:
    """How a case ended, and what is wrong with that ("" where nothing is)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if target.read is not None:
            return judge_reader(target)
        return judge_command(words, folder)


def judge_reader(target: Target) -> tuple[str, str]:
    """A reader answers, or refuses in one line."""
    assert target.read is not None
    try:
        target.read()
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        if isinstance(error, UnicodeError):
            return "error", f"not in our words: {place_of(error)}"
        return "refused", wrong_line(said)
    except MemoryError:
        return "refused", ""
    except Exception as error:
        return "error", place_of(error)
    return "read", ""


def wrong_line(said: str) -> str:
    """What is wrong with a message."""
    if not said.strip():
        return "the message is empty"
    if len(said.strip().splitlines()) > 1:
        return f"the message has several lines: {said[:200]!r}"
    if len(said) > LONGEST:
        return f"the message has {len(said)} letters: {said[:120]}"
    return ""


def judge_command(words: list[str], folder: Path) -> tuple[str, str]:
    """A command ends with 0, or with 2 and one line of error; what it leaves is whole."""
    before = listed(folder)
    try:
        code, _, err = call(*words)
    except Exception as error:
        return "traceback", place_of(error)
    new = listed(folder) - before
    ended = f"exit {code}"
    if code not in ALLOWED:
        return ended, f"exit code {code}: {err[-200:]!r}"
    if "Traceback (most recent" in err:
        return ended, f"traceback on stderr: {err[-200:]!r}"
    if code == 0:
        left = sorted(name for name in new if LEFT_OVER.search(name))
        return ended, f"left behind after exit 0: {left[:3]}" if left else ""
    lines = [line for line in err.splitlines() if line.strip()]
    errors = [i for i, line in enumerate(lines) if line.startswith("pyrogrn: error:")]
    if code == 2 and (len(errors) != 1 or errors[0] != len(lines) - 1):
        return ended, f"no single last line of error: {lines[-3:]}"
    if code == 2 and (wrong := wrong_line(lines[-1])):
        return ended, wrong
    left = sorted(name for name in new if not name.startswith("made.partial") or ".lock" in name)
    left = [name for name in left if not REUSED.search(name)]
    if left and not (folder / "made.partial" / "checkpoint.pt").exists():
        return ended, f"left behind after exit {code}: {left[:3]} ({lines[-1][:100] if lines else ''})"
    return ended, ""
