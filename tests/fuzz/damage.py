"""Random damage to bytes and text, and the exceptions that count as a clear answer to it."""

from __future__ import annotations

import os

import numpy as np

TOKENS = [
    "", " ", "0", "-0", "1", "-1", "1.5", "1e3", "1e-200", "1e155", "1e309", "-1e9", "1e9", "1000000001", "nan", "inf",
    "-inf", "NaN", "1_0", "0x10", "1e", "e5", ".", ".5", "5.", "+5", "--5", "1,5", "\u0661", "1\xa0", "\t2", "\x0c3",
    "\u20284", "abc", "\x00", "9007199254740993", "30000000", "999999999", "'", '"', "#", "Car", "DontCare", "-",
]  # fmt: skip


def one_of(rng: np.random.Generator, options):
    """Return a random element of a sequence."""
    return options[int(rng.integers(len(options)))]


def damage_bytes(rng: np.random.Generator, raw: bytes) -> bytes:
    """Return the bytes after 1 to 4 random changes: flips, cuts, repeats, zeros and insertions."""
    for _ in range(rng.integers(1, 5)):
        at, size = int(rng.integers(len(raw) + 1)), int(rng.integers(1, 64))
        kind = rng.integers(6)
        if kind == 0 and raw:
            at = min(at, len(raw) - 1)
            raw = raw[:at] + bytes([raw[at] ^ (1 << int(rng.integers(8)))]) + raw[at + 1 :]
        elif kind == 1:
            raw = raw[:at]
        elif kind == 2:
            raw = raw[:at] + raw[at + size :]
        elif kind == 3:
            raw = raw[:at] + bytes(min(size, len(raw) - at)) + raw[at + size :]
        elif kind == 4:
            raw = raw[:at] + rng.bytes(size) + raw[at:]
        else:
            raw = raw[: at + size] + raw[at:]
    return raw


def damage_rows(rng: np.random.Generator, text: str, separator: str) -> str:
    """Return the rows after 0 to 3 random changes of fields, rows, separators and line ends."""
    lines = text.splitlines()
    for _ in range(rng.integers(0, 4)):
        if not lines:
            break
        row = int(rng.integers(len(lines)))
        fields = lines[row].split(separator)
        column = int(rng.integers(len(fields)))
        kind = rng.integers(8)
        if kind <= 2:
            fields[column] = one_of(rng, TOKENS)
            lines[row] = separator.join(fields)
        elif kind == 3:
            lines[row] = separator.join(fields[: column + 1])
        elif kind == 4:
            lines.insert(row, one_of(rng, [lines[row], "", "  ", "\ufeff", "# note", "\x85", "\x1c"]))
        elif kind == 5:
            lines[row] = lines[row].replace(separator, one_of(rng, [",", " ", "\t", ";", ", ", "  "]))
        elif kind == 6:
            lines[row : row + 2] = reversed(lines[row : row + 2])
        else:
            fields.insert(column, one_of(rng, TOKENS))
            lines[row] = separator.join(fields)
    return one_of(rng, ["\n", "\n", "\n", "\r\n", "\r"]).join(lines) + one_of(rng, ["\n", ""])


def is_clear(error: BaseException) -> bool:
    """Whether an exception is a sentence for users: a common type, one line, not empty, not too long."""
    message = str(error)
    if isinstance(error, KeyError) or not isinstance(error, (ValueError, TypeError, OSError)):
        return False
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and error.errno is not None:
        return False  # from the operating system, without a remedy
    return 10 < len(message) < 1000 and "\n" not in message.strip() and "weights_only" not in message


def outcome(function, *arguments, **options):
    """Return (result, None), or (None, error) for a clear error; other exceptions are failures."""
    try:
        return function(*arguments, **options), None
    except Exception as error:
        if not is_clear(error):
            raise AssertionError(f"not a sentence for users: {type(error).__name__}: {error}") from error
        return None, error


def data_folder() -> str | None:
    """Return the folder of real sequences, if there is one."""
    return os.environ.get("MOT_DATA")
