"""A dotted name in a profile: where it may lead, and what it must be before it is called."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.checkout import run_command
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.plugins import NO_PLUGINS, Plugins

SCORER = """
from pathlib import Path
from touchstone_rewards.reward_server.scorers.base import Score

Path(__file__).with_suffix(".imported").touch()

class Short:
    version, range, runs_in, reads = "1", (0.0, 1.0), "inline", ("response",)

    def score(self, samples, *, explain=False):
        return [Score(float(len(each.response) < 5)) for each in samples]

def short():
    Path(__file__).with_suffix(".called").touch()
    return Short()

class NoScorer:
    def __init__(self):
        Path(__file__).with_suffix(".called").touch()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a plug-in folder with a module, a package, and files named like Python's own modules."""
    folder = tmp_path / "plugins"
    (folder / "touchstone_test_package" / "inner").mkdir(parents=True)
    for place in (
        "touchstone_test_plugin.py",
        "touchstone_test_package/__init__.py",
        "touchstone_test_package/inner/deep.py",
        "json.py",
        "subprocess.py",
    ):
        (folder / place).write_text(SCORER)
    return folder


def profile(tmp_path: Path, scorer: str, config: str = "{}") -> Path:
    (tmp_path / "profiles").mkdir(exist_ok=True)
    text = f"scorers: {{mine: {{scorer: '{scorer}', config: {config}}}}}\n"
    (tmp_path / "profiles" / "mine.yaml").write_text(text)
    return tmp_path / "profiles"


@pytest.mark.parametrize(
    "name",
    [
        "subprocess:Popen",
        "os:system",
        "json:JSONDecoder",
        "builtins:eval",
        "sys:exit",
        "touchstone_test_plugin_2:Short",
        "tests.reward_server.hostile_scorers:Length",
        ":Short",
        ".touchstone_test_plugin:Short",
    ],
)
def test_a_module_that_no_one_allowed_is_not_imported(
    tmp_path: Path, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    load_profiles()  # so that the built-in scorers' modules are there before
    before = set(sys.modules)
    with pytest.raises(ConfigError, match="is not allowed in profiles; add it to scorer_modules"):
        load_profiles([profile(tmp_path, name)], plugins=Plugins(("json_tools",), folder))
    assert set(sys.modules) == before
    assert not list(folder.glob("*.imported"))


@pytest.mark.parametrize(
    "name", ["touchstone_test_plugin:Short", "touchstone_test_package.inner.deep:Short"]
)
def test_a_module_below_the_plugin_folder_is_a_scorers(
    tmp_path: Path, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    profiles = profile(tmp_path, name)
    loaded = load_profiles([profiles], plugins=Plugins(folder=folder))
    assert loaded["mine"].info.ranges == {"mine": (0.0, 1.0)}
    for module in [each for each in sys.modules if each.startswith("touchstone_test_")]:
        monkeypatch.delitem(sys.modules, module)


def test_a_listed_package_allows_what_is_below_it_and_nothing_that_only_begins_alike() -> None:
    plugins = Plugins(("my_rewards", "other.rewards"))
    for name in ("math", "my_rewards:A", "my_rewards.short:B", "other.rewards:C"):
        plugins.admit(name)
    for name in ("my_rewards_2:A", "other:C", "other.reward:C", "my_rewards/../os:system"):
        with pytest.raises(ConfigError, match="not allowed"):
            plugins.admit(name)
    with pytest.raises(ConfigError, match=r"\(allowed now: none\)"):
        NO_PLUGINS.admit("os:system")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoScorer", "is not a scorer: its class has no runs_in"),
        ("short", "uses no field of a sample"),
        ("Path", "is not a scorer: its class has no runs_in"),
        ("__name__", "is a str, neither a class nor a function"),
    ],
)
def test_what_is_no_scorer_is_not_called(
    folder: Path, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ConfigError, match=said):
        build_scorer(f"touchstone_test_plugin:{name}", {})
    assert not list(folder.glob("*.called"))
    monkeypatch.delitem(sys.modules, "touchstone_test_plugin")


WHOLE = {
    "version": "'1'",
    "range": "(0.0, 1.0)",
    "reads": "('response',)",
    "runs_in": "'worker'",
    "deterministic": "True",
    "max_in_flight": "4",
}


@pytest.mark.parametrize(
    ("changes", "score", "said"),
    [
        ({"runs_in": "'cloud'"}, "def", "has runs_in 'cloud'; set one of inline, worker, model,"),
        ({"version": "1"}, "def", "has version 1; give its class a str"),
        ({"range": "(1.0, 0.0)"}, "def", "the least and the greatest score"),
        ({"reads": "'response'"}, "def", "a tuple of fields"),
        ({"reads": "('answer',)"}, "def", "which no sample has"),
        ({"deterministic": "'yes'"}, "def", "has deterministic 'yes'; set True if the same"),
        ({"batch": "1"}, "def", "has batch 1; set True if it must get all samples"),
        ({"sees_turns": "'mean'"}, "def", "has sees_turns 'mean'; set True if it reads"),
        ({"any_truth": "None"}, "def", "has any_truth None; set True if it takes"),
        ({"languages": "'English'"}, "def", "has languages 'English'; give it the languages"),
        ({"runs_in": "'group'", "of": "'math'"}, "def", "has of 'math'; give it a tuple of keys"),
        ({"runs_in": "'group'", "asks": "3"}, "def", "has asks 3; give it a tuple of scorers"),
        ({"runs_in": "'group'", "model": "'e5'"}, "def", "has model 'e5'; give it the ModelConfig"),
        ({"runs_in": "'group'", "max_members": "1"}, "def", "has max_members 1; set an int of at"),
        ({}, "async def", "has runs_in 'worker', so its method 'score' must be a plain def;"),
        ({"runs_in": "'inline'"}, "async def", "must be a plain def;"),
        ({"runs_in": "'remote'"}, "def", "must be a plain async def;"),
        ({"runs_in": "'remote'", "max_in_flight": "0"}, "async def", "has max_in_flight 0; give"),
        ({"runs_in": "'remote'", "max_in_flight": "True"}, "async def", "has max_in_flight True"),
        ({"runs_in": "'model'"}, "def", "it has no method 'inputs'"),
    ],
)
def test_an_attribute_of_a_wrong_form_is_refused_in_one_line_when_it_is_loaded(
    tmp_path: Path,
    changes: dict[str, str],
    score: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attributes = "".join(f"    {name} = {text}\n" for name, text in (WHOLE | changes).items())
    code = f"class Own:\n{attributes}    {score} score(self, samples, *, explain=False): ...\n"
    module = f"touchstone_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        build_scorer(f"{module}:Own", {})
    assert "\n" not in str(caught.value)
    monkeypatch.delitem(sys.modules, module)


def test_attributes_that_a_class_leaves_out_have_their_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {name: text for name, text in WHOLE.items() if name != "deterministic"}
    attributes = "    __slots__ = ()\n"
    attributes += "".join(f"    {name} = {text}\n" for name, text in own.items())
    code = f"class Own:\n{attributes}    def score(self, samples, *, explain=False): ...\n"
    (tmp_path / "touchstone_test_silent.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    scorer = build_scorer("touchstone_test_silent:Own", {})
    monkeypatch.delitem(sys.modules, "touchstone_test_silent")
    assert scorer.runs_in == "worker"
    assert scorer.deterministic is scorer.batch is False
    assert scorer.sees_turns is scorer.any_truth is False
    assert scorer.languages is None


def test_a_command_scores_with_a_plugin_from_the_folder_also_in_workers(
    tmp_path: Path, folder: Path
) -> None:
    module = folder / "touchstone_test_plugin.py"
    module.write_text(SCORER.replace('"inline"', '"worker"'))
    (tmp_path / "in.jsonl").write_text('{"id": "1", "response": "four"}\n')
    flags = ["--profile", "mine", "--input", tmp_path / "in.jsonl", "--output", "-"]
    flags += ["--profiles_dir", profile(tmp_path, "touchstone_test_plugin:Short")]
    done = run_command("score", *flags, "--plugins_dir", folder)
    assert done.returncode == 0, done.stderr
    assert '"reward":1.0' in done.stdout
    done = run_command("score", *flags)
    assert done.returncode == 2
    assert "module 'touchstone_test_plugin' is not allowed" in done.stderr
    assert "Traceback" not in done.stderr
