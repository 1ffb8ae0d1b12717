"""`trainer data story`: conversations in ShareGPT's form -> one row for each assistant turn.

In: a .json or .jsonl file of objects with `conversations` (turns as from/value or role/content)
and, if they have any, `system`, `instruction` and `story_content`. Out: Parquet or JSON lines with
the columns of `FEATURES`. Turns that cannot be used are named with their place. It scores nothing
and shortens nothing.
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

FORMAT_PROMPT = PROMPTS / "story_generation.jinja"
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
    """Which conversations, what the model is told about the form, what happens to bad turns."""

    input: str | None = field(
        default=None, metadata={"help": "A .json or .jsonl file of conversations."}
    )
    output: str | None = field(default=None, metadata={"help": "A .parquet or .jsonl file."})
    format_prompt: str = field(
        default=str(FORMAT_PROMPT),
        metadata={"help": "The Jinja file that becomes output_format, the end of system_prompt."},
    )
    data_source: str = field(
        default="story_generation", metadata={"help": "What the column data_source says."}
    )
    on_bad_turns: Literal["skip", "refuse"] = field(
        default="skip",
        metadata={"help": "skip: leave out the conversation from its first bad turn on; refuse."},
    )


class TurnProblem(NamedTuple):
    """What is wrong with a turn; `turn` counts from 0 and is None where it is no turn's fault."""

    conversation: int
    turn: int | None
    reason: str

    def at(self, file: str) -> str:
        turn = "" if self.turn is None else f", turn {self.turn}"
        return f"{file}, conversation {self.conversation}{turn}: {self.reason}"


OPTIONS = StoryDataArguments


def run(argv: Sequence[str]) -> None:
    """Convert, say what was left out and where.

    Raises:
        InputError: the file cannot be read, not one row comes of it, or it has bad turns and
            `on_bad_turns` is `refuse`.
    """
    arguments = parse_config(StoryDataArguments, argv, "trainer data story")
    source, output = require(arguments.input, "input"), Path(require(arguments.output, "output"))
    if output.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"output: a .parquet or .jsonl file, not {output}")
    problems: list[TurnProblem] = []
    template = read_format_prompt(arguments.format_prompt)
    conversations = read_conversations(Path(source))
    rows = list(story_rows(conversations, template, arguments.data_source, problems))
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
        f"{len(problems)} conversations end at a bad turn"
    )


def read_conversations(path: Path) -> list[Any]:
    """The objects of a .json file (a list, or one of them) or of a .jsonl file.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the conversations of {path}: {error}") from error
    if not isinstance(content, list | dict):
        raise InputError(f"{path}: a list of conversations is expected, not {type(content)}")
    return content if isinstance(content, list) else [content]


def read_format_prompt(path: str) -> Template:
    """The Jinja template of the output format; it may name what `story_rows` hands it.

    Raises:
        InputError: no such file, or it is no template.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return SandboxedEnvironment(undefined=StrictUndefined).from_string(text)
    except (OSError, ValueError, TemplateError) as error:
        raise InputError(f"format_prompt {path}: {error}") from error


def story_rows(
    conversations: Sequence[Any], template: Template, data_source: str, problems: list[TurnProblem]
) -> Iterator[dict[str, Any]]:
    """One row for each assistant turn; a conversation ends before its first bad turn.

    What follows a bad turn is left out with it: its history would have a hole. `problems` grows by
    what was wrong.

    Raises:
        InputError: the template asks for something that there is not.
    """
    for number, conversation in enumerate(conversations):
        reason = _not_a_conversation(conversation)
        if reason:
            problems.append(TurnProblem(number, None, reason))
            continue
        told, turns = _told_and_turns(conversation)
        messages: list[ShareGptTurn] = []
        for turn, (place, raw) in enumerate(turns):
            message = _message(raw, expected=("user", "assistant")[turn % 2])
            if isinstance(message, str):
                problems.append(TurnProblem(number, place, message))
                break
            messages.append(message)
            if message["role"] == "assistant":
                row = _row(messages, told, template)
                row["data_source"] = data_source
                row["extra_info"] = {"conversation": number, "turn": place}
                yield {name: row[name] for name in FEATURES}


def write_rows(rows: Sequence[Mapping[str, object]], output: Path) -> None:
    """Write Parquet or JSON lines, by the file's suffix; both read back as the same rows."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".parquet":
        Dataset.from_list([dict(row) for row in rows], features=FEATURES).to_parquet(output)
    else:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        output.write_text("".join(lines), encoding="utf-8")


def _not_a_conversation(conversation: object) -> str:
    if not isinstance(conversation, dict):
        return f"an object with 'conversations' is expected, not {conversation!r:.60}"
    turns = conversation.get("conversations")
    if not isinstance(turns, list) or not turns:
        return f"'conversations' must be a list of turns, not {turns!r:.60}"
    for key in ("system", "instruction", "story_content"):
        if not isinstance(conversation.get(key) or "", str):
            return f"{key!r} must be text, not {conversation[key]!r:.60}"
    return ""


def _told_and_turns(conversation: dict[str, Any]) -> tuple[ShareGptTurn, list[tuple[int, Any]]]:
    """Instruction and story of a conversation, and its turns with their places.

    Without a `story_content` of its own the system text is the story: in such data it sets the
    scene. With one, the system text is the instruction.
    """
    turns = list(enumerate(conversation["conversations"]))
    system = conversation.get("system") or ""
    first = turns[0][1]
    if isinstance(first, dict) and _role(first) == "system" and isinstance(_content(first), str):
        system = system or _content(first)
        turns = turns[1:]
    story = conversation.get("story_content") or ""
    instruction = conversation.get("instruction") or (system if story else "")
    return {"instruction": instruction.strip(), "story_content": (story or system).strip()}, turns


def _row(
    messages: Sequence[ShareGptTurn], told: ShareGptTurn, template: Template
) -> dict[str, object]:
    *history, asked, answer = messages
    seen = {**told, "user_input": asked["content"], "conversation_history": history}
    try:
        output_format = template.render(seen).strip()
    except TemplateError as error:
        raise InputError(f"the format prompt cannot be filled: {error}") from error
    parts = [told["instruction"], told["story_content"], output_format]
    system_prompt = "\n\n".join(part for part in parts if part)
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


def _message(turn: object, expected: str) -> ShareGptTurn | str:
    """A turn as role and content, or what is wrong with it."""
    if not isinstance(turn, dict):
        return f"a turn is an object, not {turn!r:.60}"
    name = turn.get("from", turn.get("role"))
    if name is None or name == "":
        return "no role ('from' or 'role')"
    role, content = _role(turn), _content(turn)
    if role is None:
        return f"unknown role {name!r}; known are {SHOWN_ROLES}"
    if content is not None and not isinstance(content, str):
        return f"a turn of the {role} whose content is no text: {content!r:.60}"
    if not content or not content.strip():
        return f"an empty turn of the {role}: {content!r:.60}"
    if not _is_unicode(content):
        return f"the turn holds half a character: {content!r:.60}"
    if role != expected:
        return f"a turn of the {role} where one of the {expected} is due: turns must alternate"
    return {"role": role, "content": content}


def _is_unicode(text: str) -> bool:
    """JSON can spell one half of a surrogate pair, which no file can hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _role(turn: Mapping[str, object]) -> str | None:
    name = turn.get("from", turn.get("role"))
    return ROLES.get(name.strip().lower()) if isinstance(name, str) else None


def _content(turn: Mapping[str, object]) -> Any:
    return turn.get("value", turn.get("content"))
