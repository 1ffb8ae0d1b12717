"""`reward-server init NAME`: create a folder with a profile, a reward function, rows and a test.

It copies `starter/` beside this package's code, with the name filled in, and never overwrites a
file.
"""

from __future__ import annotations

import argparse
import re
from importlib.util import find_spec
from pathlib import Path

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import BUILTIN_DIR, NEURAL_DIR

STARTER = Path(__file__).parents[1] / "starter"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
NEXT = """\
made {folder}/ with {files}

Try it:
  cd {folder}
  python test_{module}.py
  reward-server check --config server.yaml --input rows.jsonl
  reward-server score --config server.yaml --profile {name} --input rows.jsonl --output -
  reward-server serve --config server.yaml
and, from another terminal:
  curl http://127.0.0.1:8700/score -d '{{"profile": "{name}", "samples": [{{"id": "1", "response": "It is 46.", "ground_truth": "46"}}]}}'
"""  # noqa: E501 (a command to be copied)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="NAME", help="folder to create, and name of the profile"
    )


def run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    name = folder.name
    module = f"{name.replace('-', '_')}_rewards"
    _check_name(name, module)
    files = {
        "server.yaml": "server.yaml",
        "profile.yaml": f"profiles/{name}.yaml",
        "rewards.py.txt": f"rewards/{module}.py",
        "rows.jsonl": "rows.jsonl",
        "test.py.txt": f"test_{module}.py",
    }
    if taken := [file for file in files.values() if (folder / file).exists()]:
        raise ConfigError(f"{folder / taken[0]} already exists; give another name")
    try:
        for source, target in files.items():
            text = (STARTER / source).read_text(encoding="utf-8")
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text.replace("MODULE", module).replace("NAME", name))
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error}") from error
    print(NEXT.format(folder=folder, files=", ".join(files.values()), name=name, module=module))
    return 0


def _check_name(name: str, module: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a profile; use letters, digits, - and _, beginning with a letter"
        )
    built_in = {path.stem for path in (*BUILTIN_DIR.glob("*.yaml"), *NEURAL_DIR.glob("*.yaml"))}
    if name in built_in:
        raise ConfigError(f"there is a built-in profile {name!r}; give another name")
    if find_spec(module) is not None:
        raise ConfigError(f"there is a Python module {module!r} installed; give another name")
