"""Find the line and the cause if a .jsonl, .json or .csv file cannot be read.

The functions return a phrase for the user, or the readable lines of a .jsonl file. The libraries
that load data report little more than that an error occurred.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def wrong_encoding(path: Path) -> str | None:
    """Return where a text file stops being UTF-8, and its likely encoding; None if it is UTF-8."""
    with open(path, "rb") as file:
        decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
        while chunk := file.read(CHUNK_BYTES):
            try:
                line += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                return f"line {line} is not UTF-8{_likely(path)}: save the file as UTF-8"
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return f"line {line} ends within a character: the file is cut off, or not UTF-8"
    return None


def _likely(path: Path) -> str:
    """Guess the encoding from the start of the file."""
    with open(path, "rb") as file:
        start = file.read(CHUNK_BYTES)
    if start.startswith(UTF_16):
        return " (it is UTF-16)"
    try:
        codecs.getincrementaldecoder("gb18030")().decode(start)
    except UnicodeDecodeError:
        return ""
    return " (it reads as GBK)"


def fault_in(path: Path) -> str | None:
    """Return the first fault in a .jsonl or .json file; None if there is none, or for other files.

    Example:
        fault_in(Path("rows.jsonl"))  # "line 3 is not JSON: Expecting value, column 1"
    """
    if path.suffix not in (".jsonl", ".json"):
        return None
    if path.suffix == ".json":
        text = path.read_text(encoding="utf-8-sig")
        try:
            json.loads(text)
        except ValueError as error:
            whole = _of_json(error)
        else:
            return None
        if text.lstrip().startswith("["):
            return whole
    faults = (f"line {number} {fault}" for number, _, fault in lines_of(path) if fault)
    return next(faults, None)


def lines_of(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Yield number, text and fault of each line that is not blank; the fault of a good row is
    None."""
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line, _fault_of(line.strip())


def _fault_of(line: str) -> str | None:
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "holds half a character (an unpaired surrogate)"
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return _of_json(error).partition(" ")[2].partition(" ")[2]
    if not isinstance(row, dict):
        return f"holds a {type(row).__name__}, not an object with columns"
    return None


def _of_json(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno} is not JSON: {error.msg}, column {error.colno}"
    return f"line 1 is not JSON: {error}"
