"""`trainer data story`: convert ShareGPT conversations to one row per assistant turn.

Reads a .json or .jsonl file of objects with `conversations` or `messages` (turns as from/value or
role/content) and optional `system`, `instruction` and `story_content`. Writes Parquet or JSON lines
with the columns of `FEATURES`, and reports every unusable turn with its place. Texts are neither
shortened nor extended unless the arguments say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from datasets import Dataset, Features, Value
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from rich.console import Console

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.rows import PROMPTS
from touchstone_rewards.trainer.data.shapes import ROLES, SHOWN_ROLES
from touchstone_rewards.trainer.errors import InputError

FORMAT_PROMPTS = {
    "en": PROMPTS / "story_generation.jinja",
    "zh": PROMPTS / "story_generation_zh.jinja",
}
NO_PROMPT = "none"
TURN_KEYS = ("conversations", "messages")
PROBLEMS_SHOWN = 20

ShareGptTurn = dict[str, str]
TURNS = [{"role": Value("string"), "content": Value("string")}]
FEATURES = Features(
    {
        "data_source": Value("string"),
        "prompt": TURNS,
        "ability": Value("string"),
        "reward_model": {"style": Value("string"), "ground_truth": Value("string")},
        "target_response": Value("string"),
        "extra_info": {"conversation": Value("int64"), "turn": Value("int64")},
        "system_prompt": Value("string"),
        "conversation_history": TURNS,
        "story_content": Value("string"),
        "user_input": Value("string"),
        "output_format": Value("string"),
    }
)


@dataclass
class StoryDataArguments:
    """Input and output files, the format prompt, and the handling of bad turns."""

    input: str | None = field(
        default=None, metadata={"help": "A .json or .jsonl file of conversations."}
    )
    output: str | None = field(default=None, metadata={"help": "A .parquet or .jsonl file."})
    format_prompt: str = field(
        default=NO_PROMPT,
        metadata={
            "help": "Text for output_format, the end of system_prompt: en or zh (ask in English or "
            "Chinese for the JSON that the story profiles read), a Jinja file, or none."
        },
    )
    consecutive_turns: Literal["refuse", "merge"] = field(
        default="refuse",
        metadata={
            "help": "merge: join consecutive turns of one role with a line break; "
            "refuse: treat the second one as a bad turn."
        },
    )
    data_source: str = field(
        default="story_generation", metadata={"help": "Value of the column data_source."}
    )
    on_bad_turns: Literal["skip", "refuse"] = field(
        default="skip",
        metadata={"help": "skip: drop the conversation from its first bad turn on; refuse: stop."},
    )


class TurnProblem(NamedTuple):
    """What is wrong with a conversation, and with which turn, counted from 0; None for no turn."""

    conversation: int
    turn: int | None
    reason: str

    def at(self, file: str) -> str:
        turn = "" if self.turn is None else f", turn {self.turn}"
        return f"{file}, conversation {self.conversation}{turn}: {self.reason}"


OPTIONS = StoryDataArguments


def run(argv: Sequence[str]) -> None:
    """Convert a file and report what was left out.

    Raises:
        InputError: the file cannot be read, it gives no row, or it has bad turns and `on_bad_turns`
            is `refuse`.
    """
    arguments = parse_config(StoryDataArguments, argv, "trainer data story")
    source, output = require(arguments.input, "input"), Path(require(arguments.output, "output"))
    if output.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"output: a .parquet or .jsonl file, not {output}")
    problems: list[TurnProblem] = []
    template = read_format_prompt(arguments.format_prompt)
    conversations = read_conversations(Path(source))
    merges = arguments.consecutive_turns == "merge"
    rows = list(story_rows(conversations, template, arguments.data_source, problems, merges=merges))
    if problems and arguments.on_bad_turns == "refuse":
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0].at(source)}{more}")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in problems[:PROBLEMS_SHOWN]:
        console.print(problem.at(source), markup=False)
    if not rows:
        where = problems[0].at(source) if problems else source
        raise InputError(f"not one row in {len(conversations)} conversations; {where}")
    write_rows(rows, output)
    print(
        f"{output}: {len(rows)} rows of {len(conversations)} conversations; "
        f"{len(problems)} conversations end at a bad turn or have none to learn from"
    )


def read_conversations(path: Path) -> list[Any]:
    """Return the objects of a .json file (a list, or a single one) or of a .jsonl file.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the conversations of {path}: {error}") from error
    if path.suffix == ".jsonl":
        lines = enumerate(text.split("\n"), start=1)
        return [_parsed(line, f"{path}, line {n}") for n, line in lines if line.strip()]
    content = _parsed(text, str(path))
    if not isinstance(content, list | dict):
        raise InputError(f"{path}: expected a list of conversations, not {content!r:.60}")
    return content if isinstance(content, list) else [content]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = ""
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            hint = "; one object a line is JSON lines: name the file .jsonl"
        raise InputError(f"{where} is not JSON: {error}{hint}") from error


def read_format_prompt(path: str) -> Template:
    """Return the Jinja template of the output format, empty for `none`.

    It may use `instruction`, `story_content`, `user_input` and `conversation_history`.

    Raises:
        InputError: there is no such file, or it is not a template.
    """
    try:
        file = FORMAT_PROMPTS.get(path, Path(path))
        text = "" if path == NO_PROMPT else file.read_text(encoding="utf-8")
        return SandboxedEnvironment(undefined=StrictUndefined).from_string(text)
    except (OSError, ValueError, TemplateError) as error:
        raise InputError(f"format_prompt {path}: {error}") from error


def story_rows(
    conversations: Sequence[Any],
    template: Template,
    data_source: str,
    problems: list[TurnProblem],
    *,
    merges: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield one row for each assistant turn that answers a user.

    A conversation ends before its first bad turn, because later turns would have a gap in their
    history. An assistant's turn before the first user's is history. `merges`: join consecutive
    turns of one role. Problems found are appended to `problems`.

    Raises:
        InputError: the template uses a variable that does not exist.
    """
    for number, conversation in enumerate(conversations):
        reason = _not_a_conversation(conversation)
        if reason:
            problems.append(TurnProblem(number, None, reason))
            continue
        told, turns = _told_and_turns(conversation)
        messages, problem = _read_turns(turns, number, merges=merges)
        if problem is None and not any(_answers(messages)):
            problem = TurnProblem(number, None, "no assistant turn answers a user turn")
        problems += [problem] if problem else []
        for place, end in _answers(messages):
            row = _row([message for _, message in messages[:end]], told, template)
            row["data_source"] = data_source
            row["extra_info"] = {"conversation": number, "turn": place}
            yield {name: row[name] for name in FEATURES}


PlacedTurn = tuple[int, ShareGptTurn]


def _read_turns(
    turns: Sequence[tuple[int, Any]], number: int, *, merges: bool
) -> tuple[list[PlacedTurn], TurnProblem | None]:
    """Return the messages before the first bad turn, each with the place of its first turn, and
    the problem of that bad turn."""
    messages: list[PlacedTurn] = []
    for place, raw in turns:
        message = _message(raw)
        if isinstance(message, str):
            return messages, TurnProblem(number, place, message)
        before = messages[-1][1]["role"] if messages else None
        if message["role"] != before:
            messages.append((place, message))
        elif merges:
            first, earlier = messages[-1]
            content = f"{earlier['content']}\n{message['content']}"
            messages[-1] = (first, {"role": message["role"], "content": content})
        else:
            reason = (
                f"two turns of the {before} in a row: turns must alternate; "
                "--consecutive_turns merge joins them"
            )
            return messages, TurnProblem(number, place, reason)
    return messages, None


def _answers(messages: Sequence[PlacedTurn]) -> Iterator[tuple[int, int]]:
    """Yield the place of each turn that answers a user, and the number of messages up to it."""
    for end, (place, message) in enumerate(messages, start=1):
        if message["role"] == "assistant" and end > 1:
            yield place, end


def write_rows(rows: Sequence[Mapping[str, object]], output: Path) -> None:
    """Write Parquet or JSON lines, depending on the suffix; both read back as the same rows."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".parquet":
        Dataset.from_list([dict(row) for row in rows], features=FEATURES).to_parquet(output)
    else:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        output.write_text("".join(lines), encoding="utf-8")


def _not_a_conversation(conversation: object) -> str:
    if not isinstance(conversation, dict):
        return f"expected an object with 'conversations', not {conversation!r:.60}"
    key = _turn_key(conversation)
    if key is None:
        return f"no {' or '.join(map(repr, TURN_KEYS))} among the keys {list(conversation)!r:.80}"
    turns = conversation[key]
    if not isinstance(turns, list) or not turns:
        return f"{key!r} must be a list of turns with at least one, not {turns!r:.60}"
    for key in ("system", "instruction", "story_content"):
        if not isinstance(conversation.get(key) or "", str):
            return f"{key!r} must be text, not {conversation[key]!r:.60}"
    return ""


def _turn_key(conversation: Mapping[str, Any]) -> str | None:
    return next((key for key in TURN_KEYS if conversation.get(key) is not None), None)


def _told_and_turns(conversation: dict[str, Any]) -> tuple[ShareGptTurn, list[tuple[int, Any]]]:
    """Return the instruction and the story of a conversation, and its turns with their places.

    The system text is the story if there is no `story_content`, else the instruction.
    """
    turns = list(enumerate(conversation[_turn_key(conversation) or TURN_KEYS[0]]))
    system = conversation.get("system") or ""
    first = turns[0][1]
    if isinstance(first, dict) and _role(first) == "system" and isinstance(_content(first), str):
        system = system or _content(first)
        turns = turns[1:]
    story = conversation.get("story_content") or ""
    instruction = conversation.get("instruction") or (system if story else "")
    return {"instruction": instruction, "story_content": story or system}, turns


def _row(
    messages: Sequence[ShareGptTurn], told: ShareGptTurn, template: Template
) -> dict[str, object]:
    *history, asked, answer = messages
    seen = {**told, "user_input": asked["content"], "conversation_history": history}
    try:
        output_format = template.render(seen).strip()
    except TemplateError as error:
        raise InputError(f"cannot fill the format prompt: {error}") from error
    parts = [told["instruction"], told["story_content"], output_format]
    system_prompt = "\n\n".join(part for part in parts if part.strip())
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return {
        "prompt": [*system, *history, asked],
        "ability": "story_generation",
        "reward_model": {"style": "model", "ground_truth": answer["content"]},
        "target_response": answer["content"],
        "system_prompt": system_prompt,
        "conversation_history": list(history),
        "story_content": told["story_content"],
        "user_input": asked["content"],
        "output_format": output_format,
    }


def _message(turn: object) -> ShareGptTurn | str:
    """Return a turn as role and content, or what is wrong with it."""
    if not isinstance(turn, dict):
        return f"a turn is an object, not {turn!r:.60}"
    name = turn.get("from", turn.get("role"))
    if name is None or name == "":
        return "no role ('from' or 'role')"
    role, content = _role(turn), _content(turn)
    if role is None:
        return f"unknown role {name!r}; known are {SHOWN_ROLES}"
    if content is not None and not isinstance(content, str):
        return f"the content of a turn of the {role} is not text: {content!r:.60}"
    if not content or not content.strip():
        return f"an empty turn of the {role}: {content!r:.60}"
    if not _is_unicode(content):
        return f"the turn holds half of a surrogate pair: {content!r:.60}"
    if role not in ("user", "assistant"):
        return f"a turn of the {role}: only user and assistant take turns in a story"
    return {"role": role, "content": content}


def _is_unicode(text: str) -> bool:
    """Whether the text can be written to a file; JSON can spell half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _role(turn: Mapping[str, object]) -> str | None:
    name = turn.get("from", turn.get("role"))
    return ROLES.get(name.strip().lower()) if isinstance(name, str) else None


def _content(turn: Mapping[str, object]) -> Any:
    return turn.get("value", turn.get("content"))
