"""Where an embedding model's cosines begin and end to count, for each language it was measured in.

In: a ramps file, as `reward-server calibrate` writes it; those in `data/` go by their names. Out:
the `Ramps` that a part of the story scorer uses. A cosine is taken after the language's mean vector
is taken away: what all its stories have in common says nothing of any.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

DATA = Path(__file__).parent / "data"


class Centres(Struct, frozen=True):
    """The mean vectors, of shape [dim], of the parts of responses and of stories so far."""

    response: Any
    story: Any

    def __post_init__(self) -> None:
        import numpy as np

        msgspec.structs.force_setattr(self, "response", np.asarray(self.response, np.float32))
        msgspec.structs.force_setattr(self, "story", np.asarray(self.story, np.float32))


class LanguageRamps(Struct, frozen=True):
    """`centres`: the mean vectors of its texts. `ramps`: of each part, the cosine that
    scores 0 and the one that scores 1. `measured`: how well that tells texts apart, for readers."""

    centres: Centres
    ramps: dict[str, tuple[float, float]]
    measured: dict[str, Any]


class Ramps(Struct, frozen=True):
    """What was measured with one model. `files`: the hash of its files; `stories`: that of the
    stories; `prefix`: what stood before every text."""

    model: str
    files: str
    prefix: str
    stories: str
    languages: dict[str, LanguageRamps]


@lru_cache(maxsize=32)
def read_ramps(name: str) -> Ramps:
    """Return the ramps of a file, or of a name in `data/` like `e5-multilingual`.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    shipped = DATA / f"ramps_{name}.json"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ramps)
    except (OSError, msgspec.DecodeError) as error:
        known = ", ".join(sorted(p.stem.removeprefix("ramps_") for p in DATA.glob("ramps_*.json")))
        raise ValueError(
            f"ramps {name!r} cannot be read ({error}); give one of {known}, or a file written by "
            "reward-server calibrate"
        ) from error


def check_ramps(ramps: Ramps, files: str | None, prefix: str, languages: list[str]) -> None:
    """Refuse ramps of another model, or without a language that is asked for.

    `files`: the hash of the files of the model in use, None where they are not here.

    Raises:
        ValueError: they are.
    """
    if files is not None and files != ramps.files:
        raise ValueError(
            f"the ramps were measured with other files of a model ({ramps.model}); run "
            "reward-server calibrate with this one"
        )
    if prefix != ramps.prefix:
        raise ValueError(f"prefix is {prefix!r}; the ramps were measured with {ramps.prefix!r}")
    missing = [one for one in languages if one not in ramps.languages]
    if missing:
        raise ValueError(
            f"languages: {', '.join(missing)} is asked for, but the ramps of {ramps.model} were "
            f"measured in {', '.join(ramps.languages)}; take a model that reads it, and "
            "reward-server calibrate"
        )
