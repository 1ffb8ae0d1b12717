"""Make the reference pages for the client API, trainer fields, log lines and alerts."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml

from touchstone_rewards import clients
from touchstone_rewards.clients import adapters
from touchstone_rewards.clients.adapters.trl import Chosen, TrlOptions
from touchstone_rewards.trainer.__main__ import COMMANDS, MODULES
from touchstone_rewards.trainer.field_source import SourceClass, SourceField, read_options

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "reward_server"
ALERTS = ROOT / "docker" / "prometheus" / "alerts.yml"
LEVELS = ("critical", "error", "exception", "warning", "info", "debug")
OURS = "touchstone_rewards."
# Members inherited from msgspec, Exception or object are left out.
PUBLIC_METHODS = re.compile(r"[a-z]\w*")
COMES_FIRST = ("RemoteRewardClient", "AsyncRemoteRewardClient", "Sample", "ScoreResult")


def cell(text: str) -> str:
    """Escape text for a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def client_page() -> str:
    """Return the page of the public names in `touchstone_rewards.clients`, and of the adapters."""
    names = [*COMES_FIRST, *(name for name in clients.__all__ if name not in COMES_FIRST)]
    parts = [
        "# Client API\n\n`from touchstone_rewards.clients import …`. Everything listed here is "
        "public and [stable](../promise.md). [The clients](../client.md) explains it with "
        "examples.\n"
    ]
    kinds: dict[str, type[Any]] = {name: getattr(clients, name) for name in names}
    failures = {name: kind for name, kind in kinds.items() if issubclass(kind, Exception)}
    parts += [class_section(name, kind) for name, kind in kinds.items() if name not in failures]
    parts += ["## Errors\n", *(error_section(name, kind) for name, kind in failures.items())]
    parts += ["## Options of as_trl_reward\n", trl_options_table(), "## Adapters\n"]
    folder = Path(str(adapters.__file__)).parent
    parts += [adapter_row_section(path.stem) for path in sorted(folder.glob("*.py"))]
    return "\n".join(part for part in parts if part)


def class_section(name: str, kind: type[Any]) -> str:
    """Return the section of a public class: signature, docstring, its own methods."""
    lines = [f"## {name}\n", f"```python\n{name}{signature_of(kind)}\n```\n", documented(kind), ""]
    for method, function in own_methods(kind):
        lines += [f"### {name}.{method}\n"]
        prefix = "await " if inspect.iscoroutinefunction(function) else ""
        lines += [f"```python\n{prefix}{method}{signature_of(function)}\n```\n"]
        lines += [documented(function), ""]
    return "\n".join(lines)


def error_section(name: str, kind: type[Exception]) -> str:
    """Return the section of an error: its docstring and base classes."""
    bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
    return f"### {name}\n\n{documented(kind)}\n\nBases: {bases}.\n"


def own_methods(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the public methods that a class itself defines, in source order."""
    for name, value in vars(kind).items():
        if PUBLIC_METHODS.fullmatch(name) and inspect.isfunction(value):
            yield name, value


def signature_of(thing: Any) -> str:
    """Return a signature without `self`, with one parameter per line if it is long."""
    try:
        found = inspect.signature(thing)
    except ValueError:
        return "(…)"
    kept = [each for each in found.parameters.values() if each.name != "self"]
    shown = [parameter(each) for each in kept]
    star = next((n for n, each in enumerate(kept) if each.kind is each.KEYWORD_ONLY), None)
    if star is not None and not any(each.kind is each.VAR_POSITIONAL for each in kept):
        shown.insert(star, "*")
    given = found.return_annotation
    end = "" if given in (found.empty, None, "None") else f" -> {annotation(given)}"
    line = f"({', '.join(shown)}){end}"
    if len(line) <= 80:
        return line
    return "(\n" + "".join(f"    {each},\n" for each in shown) + f"){end}"


def parameter(found: inspect.Parameter) -> str:
    """Return a parameter as written in the source, where annotations are strings."""
    star = {found.VAR_POSITIONAL: "*", found.VAR_KEYWORD: "**"}.get(found.kind, "")
    kind = "" if found.annotation is found.empty else f": {annotation(found.annotation)}"
    equals = " = " if kind else "="
    shown = getattr(found.default, "__qualname__", None) or repr(found.default)
    shown = shown.replace("<factory>", "{}")
    default = "" if found.default is found.empty else f"{equals}{shown}"
    return f"{star}{found.name}{kind}{default}"


def annotation(given: Any) -> str:
    """Return the short name of a type, without msgspec annotations."""
    if isinstance(given, str):
        return given
    text = given.__name__ if isinstance(given, type) and not get_args(given) else str(given)
    text = re.sub(r"(?:typing\.)?Annotated\[(.+?), .*\]$", r"\1", text)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text)


def documented(thing: Any) -> str:
    """Return a docstring as Markdown: `Args:` and `Raises:` as lists, other parts as code."""
    text = (inspect.getdoc(thing) or "").replace("  # doctest: +SKIP", "")
    parts = re.split(r"^(Args|Raises|Example|Source):\n", text, flags=re.MULTILINE)
    out = [escape(parts[0].strip())]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        inner = textwrap.dedent(body.rstrip())
        if title in ("Args", "Raises"):
            out.append(f"{title}:\n\n{entries_of(inner)}")
        else:
            out.append(f"{title}:\n\n```python\n{inner.strip()}\n```")
    return "\n\n".join(part for part in out if part)


def entries_of(text: str) -> str:
    """Return the entries of an `Args:` or `Raises:` part as a list."""
    entries: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and entries:
            entries[-1] += " " + line.strip()
        elif line.strip():
            entries.append(line.strip())
    pairs = (entry.partition(": ") for entry in entries)
    return "\n".join(f"- `{name}`: {escape(about)}" for name, _, about in pairs)


def escape(text: str) -> str:
    """Escape `<` in prose, so that it does not start a tag; keep ASCII drawings as they are."""
    if "──" in text:
        head, _, drawing = text.partition("\n\n")
        return f"{head}\n\n```\n{textwrap.dedent(drawing)}\n```"
    return text.replace("<", "&lt;")


def trl_options_table() -> str:
    """Return the table of the TRL adapter's options, from the documentation in its types."""
    source = ast.parse(textwrap.dedent(inspect.getsource(TrlOptions))).body[0]
    assert isinstance(source, ast.ClassDef)
    rows = ["| option | type | default | meaning |\n|---|---|---|---|\n"]
    defaults = {name: each.default for name, each in Chosen.__dataclass_fields__.items()}
    body = source.body
    for place, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign):
            continue
        about = text_of(body[place + 1]) if place + 1 < len(body) else ""
        name, kind = ast.unparse(node.target), cell(ast.unparse(node.annotation))
        rows.append(f"| `{name}` | `{kind}` | `{defaults[name]!r}` | {cell(about)} |\n")
    return "".join(rows)


def text_of(node: ast.stmt) -> str:
    """Return the text of a statement that is a string; '' for other statements."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def adapter_row_section(name: str) -> str:
    """Return the section of an adapter with functions for a trainer; '' for shared modules."""
    module = import_module(f"touchstone_rewards.clients.adapters.{name}")
    text = inspect.getdoc(module) or ""
    functions = [
        (each, function)
        for each, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and re.fullmatch(r"(compute_score|reward_function|reward_of)(_async)?", each)
    ]
    if not functions:
        return ""
    lines = [f"### {name}\n", f"`touchstone_rewards.clients.adapters.{name}`: "]
    lines[-1] += escape(text.partition("\n\n")[0].replace("\n", " ")) + "\n"
    for each, function in functions:
        lines += [f"```python\n{each}{signature_of(function)}\n```\n"]
    return "\n".join(lines)


def trainer_fields_page() -> str:
    """Return the page of the trainers' own fields, command by command."""
    parts = [
        "# Trainer fields\n\nSet each in the YAML file of `--config` or on the command line "
        "as `--name value`, which takes precedence. All fields of TRL and transformers work too: "
        "`trainer COMMAND --help_all` lists them.\n"
    ]
    for command, about in COMMANDS.items():
        kinds, sections = read_options(f"touchstone_rewards.trainer.{MODULES[command]}")
        tables = [fields_table(kind) for kind in kinds]
        tables += [fields_table(kind, f"{name}.") for name, kind in sections.items()]
        theirs = sorted({f"`{kind.name}`" for kind in kinds if not kind.module.startswith(OURS)})
        parts.append(f"## trainer {command}\n\n{about[0].upper()}{about[1:]}.\n")
        if theirs:
            parts.append(f"Also every field of TRL's {', '.join(theirs)}.\n")
        parts += [each for each in tables if each]
    return "\n".join(parts)


def fields_table(kind: SourceClass, prefix: str = "") -> str:
    """Return the table of a class's own fields; '' if it has none."""
    fields = [each for each in kind.fields if each.module.startswith(OURS)]
    if not fields:
        return ""
    head = f"{kind.summary}\n\n| field | values | default | meaning |\n|---|---|---|---|\n"
    return head + "".join(field_row(each, prefix) for each in fields)


def field_row(field: SourceField, prefix: str) -> str:
    values = ", ".join(f"`{each}`" for each in field.choices) or f"`{cell(field.type)}`"
    default = "none" if field.default in (None, "None") else f"`{cell(field.default)}`"
    return f"| `{prefix}{field.name}` | {values} | {default} | {cell(field.help)} |\n"


def alerts_page() -> str:
    """Return the page of the alert rules in `docker/prometheus/alerts.yml`."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    parts = [
        "# Alerts\n\n`docker/prometheus/alerts.yml`, which [the stack](../docker.md) loads into "
        "Prometheus. Copy it into your own setup; [metrics](metrics.md) explains the names.\n"
    ]
    for rule in (rule for group in groups for rule in group["rules"]):
        notes = rule["annotations"]
        after = f", after {rule['for']}" if "for" in rule else ""
        summary = re.sub(r"\{\{ *\$(?:labels\.)?(\w+)[^}]*\}\}", r"*\1*", notes["summary"])
        parts.append(
            f"## {rule['alert']}\n\n{rule['labels']['severity'].capitalize()}{after}: {summary}. "
            f"{notes['description']}\n\n```\n{rule['expr']}\n```\n"
        )
    return "\n".join(parts)


class LogLine(NamedTuple):
    """A line that the server can log: its logger, level and message."""

    logger: str
    level: str
    words: str


def log_page() -> str:
    """Return the page of every line that the server can log."""
    lines = sorted(found_lines(), key=lambda each: (LEVELS.index(each.level), each))
    rows = "".join(
        f"| {'error' if level == 'exception' else level} | `{words}` | {logger} |\n"
        for logger, level, words in lines
    )
    return (
        "# Log lines\n\n`log_level` sets the lowest level, `log_format` text or "
        "JSON. [Running the server](../operations.md#logs) has an example of each. Without "
        "`log_samples`, no line contains text from a model.\n\n"
        "## One line per request\n\n"
        "Logger `touchstone_rewards.reward_server.requests`, message `answered`, level `info`; "
        "`debug` for `/health`, `/ready` and `/metrics`. Its fields, in JSON as keys:\n\n"
        "| field | meaning |\n|---|---|\n"
        "| `time`, `level`, `logger`, `message` | as in every line; the time in UTC |\n"
        "| `request_id` | the caller's `X-Request-ID`, or a generated one; returned with the "
        "answer |\n"
        "| `route` | pattern of the route |\n"
        "| `status` | HTTP status; 499: the caller disconnected |\n"
        "| `ms` | milliseconds until the answer was ready |\n"
        "| `key` | name of the caller's key |\n"
        "| `profile`, `samples` | requested profile, and number of samples |\n"
        "| `failures` | samples without a reward, by [code](errors.md#of-a-sample) |\n"
        "| `content` | only with `log_samples`: id, prompt, response, ground truth, reward |\n"
        "| `traceback` | of an error, if there is one |\n\n"
        "## All other lines\n\n`%s` and `%d` stand for texts and numbers. The logger's full name "
        "begins with `touchstone_rewards.reward_server`.\n\n"
        "| level | message | logger |\n|---|---|---|\n" + rows
    )


def found_lines() -> Iterator[LogLine]:
    """Yield every logging call in the server's source whose message is a literal."""
    for path in sorted(SERVER.rglob("*.py")):
        where = path.relative_to(SERVER).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if (
                ast.unparse(node.func.value) not in ("logger", "log")
                or node.func.attr not in LEVELS
            ):
                continue
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield LogLine(where, node.func.attr, cell(str(first.value)))
