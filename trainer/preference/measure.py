"""`trainer rm --eval`: measure the ranking accuracy and calibration of a reward model.

Rows are preference pairs, or have RewardBench 2's form. The figures are printed and, with
`output_dir`, written to `ranking.json` and `predictions.jsonl`. Rows that are too long for the
model are counted but not ranked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from trl.trainer.model_config import ModelConfig
from trl.trainer.reward_config import RewardConfig

from touchstone_rewards.trainer.config import require
from touchstone_rewards.trainer.data.rows import DataArguments, ensure_sample_ids
from touchstone_rewards.trainer.data.shapes import ChatTurn
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.best_of import (
    WHOLE,
    Choice,
    best_of,
    is_best_of,
    told_best_of,
)
from touchstone_rewards.trainer.preference.ranking import ranking_of, told
from touchstone_rewards.trainer.preference.reward_head import head_facts
from touchstone_rewards.trainer.preference.rows import preference_rows
from touchstone_rewards.trainer.preference.scoring import (
    TextScore,
    load_for_scores,
    scores_of,
    token_ids,
)
from touchstone_rewards.trainer.running.run import (
    check_model_path,
    model_init_kwargs,
    named_rows,
    tokenizer_of,
)

PREDICTIONS, RANKING = "predictions.jsonl", "ranking.json"
Finished = str | list[ChatTurn]


class Contest(NamedTuple):
    """The complete texts or conversations of one row: right ones and wrong ones."""

    id: str
    subset: str | None
    chosen: list[Finished]
    rejected: list[Finished]


# A row with the scores and token counts of its texts, chosen first.
ScoredContest = tuple[Contest, list[TextScore], list[int]]
# Figures, lines of `predictions.jsonl`, lines for the screen.
RankingResult = tuple[dict[str, Any], list[dict[str, Any]], list[str]]


def measure(
    data: DataArguments,
    args: RewardConfig,
    model: ModelConfig,
    output: Path | None,
    limit: int | None,
) -> None:
    """Score the rows of `eval_dataset_name`, else of `dataset_name`; print and write the figures.

    `limit` is the largest number of tokens per text; None means the model's number of positions.

    Raises:
        InputError: model or rows are missing or do not fit together, or output files exist.
    """
    name = check_model_path(model)
    _refuse_earlier(output, overwrite=data.overwrite)
    given = require(data.eval_dataset_name or data.dataset_name, "eval_dataset_name")
    split = data.dataset_test_split if data.eval_dataset_name else data.dataset_train_split
    rows = ensure_sample_ids(named_rows(data, given, split))
    tokenizer = tokenizer_of(model, args.chat_template_path)
    network = load_for_scores(name, **model_init_kwargs(args, model)).to(args.device)
    chat = _reads_chats(network, tokenizer)
    lists = is_best_of(rows)
    contests = list(_best_of_rows(rows, chat) if lists else _pairs(rows, chat, data.skip_bad_rows))
    scored = _scored(network, tokenizer, contests, args, limit)
    too_long = len(contests) - len(scored)
    if not scored:
        raise InputError("every row is longer than the model can read: nothing was measured")
    figures, lines, shown = _benchmark(scored) if lists else _ranking(scored)
    if too_long:
        shown = [*shown, f"{too_long} of {len(contests)} rows are too long: not ranked"]
    if args.process_index:  # only the main process reports
        return
    print("\n".join(shown))
    if output is not None:
        about = {"model": name, "data": " ".join(given), "too_long": too_long}
        write(output, {**about, **figures}, lines)


def _benchmark(scored: Sequence[ScoredContest]) -> RankingResult:
    choices = [_choice(*each) for each in scored]
    figures = best_of(choices)
    return {"best_of": figures}, [each._asdict() for each in choices], told_best_of(figures)


def _ranking(scored: Sequence[ScoredContest]) -> RankingResult:
    lines = [_line(*each) for each in scored]
    figures = ranking_of(lines)
    return figures, lines, told(figures)


def write(folder: Path, figures: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
    """Write `ranking.json` and `predictions.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RANKING).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / PREDICTIONS).write_text(text, encoding="utf-8")


def _refuse_earlier(output: Path | None, *, overwrite: bool) -> None:
    there = [name for name in (RANKING, PREDICTIONS) if output and (output / name).exists()]
    if there and not overwrite:
        raise InputError(
            f"{output} already has {' and '.join(there)}: choose another output_dir, or replace "
            "them with --overwrite true"
        )


def _reads_chats(network: Any, tokenizer: Any) -> bool:
    """Return whether to format rows as chats: as recorded in training, or, if nothing is recorded,
    whether the tokenizer has a chat template."""
    wanted = head_facts(network.config).get("template")
    return wanted == "chat" if wanted else bool(tokenizer.chat_template)


def _best_of_rows(rows: Dataset, chat: bool) -> Iterator[Contest]:
    for row in rows:
        assert isinstance(row, dict)
        if not row.get("chosen") or not row.get("rejected"):
            raise InputError(f"row {row['id']!r} has no chosen or no rejected responses")
        sides = [
            [_finished(row.get("prompt"), text, chat) for text in row[side]]
            for side in ("chosen", "rejected")
        ]
        yield Contest(row["id"], row.get("subset") or WHOLE, *sides)


def _pairs(rows: Dataset, chat: bool, skip_bad_rows: bool) -> Iterator[Contest]:
    pairs, line = preference_rows(rows, has_template=chat, skip_bad_rows=skip_bad_rows)
    print(line)
    named = "subset" in rows.column_names
    subsets = dict(zip(rows["id"], rows["subset"], strict=True)) if named else {}
    for row in pairs:
        assert isinstance(row, dict)
        sides = [[_finished(row.get("prompt"), row[side], chat)] for side in ("chosen", "rejected")]
        yield Contest(row["id"], subsets.get(row["id"]), *sides)


def _finished(prompt: Finished | None, response: Finished, chat: bool) -> Finished:
    """Join prompt and response in the form that the model reads.

    Raises:
        InputError: they do not have or allow that form.
    """
    if isinstance(response, list):
        if not chat:
            raise InputError("the model reads plain texts, but the rows are conversations")
        return [*prompt, *response] if isinstance(prompt, list) else response
    if not chat:
        return f"{prompt or ''}{response}"
    if prompt is None:
        raise InputError("the model reads chats, but the rows have no prompt")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [*turns, {"role": "assistant", "content": response}]


def _scored(
    network: Any,
    tokenizer: Any,
    contests: Sequence[Contest],
    args: RewardConfig,
    limit: int | None,
) -> list[ScoredContest]:
    """Return scores and token counts of the rows that the model can read, chosen first."""
    positions = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    most = min(each for each in (positions, limit, 1 << 62) if each)
    tokens = partial(
        token_ids, tokenizer, append_eos=bool(head_facts(network.config).get("append_eos"))
    )
    read = [(each, [tokens(text) for text in (*each.chosen, *each.rejected)]) for each in contests]
    kept = [(each, texts) for each, texts in read if max(map(len, texts)) <= most]
    flat = [text for _, texts in kept for text in texts]
    found = iter(
        scores_of(network, flat, args.per_device_eval_batch_size, quiet=bool(args.disable_tqdm))
    )
    return [(each, [next(found) for _ in texts], list(map(len, texts))) for each, texts in kept]


def _choice(contest: Contest, scores: Sequence[TextScore], _: Sequence[int]) -> Choice:
    found = [each.score for each in scores]
    right = len(contest.chosen)
    return Choice(contest.id, str(contest.subset), found[:right], found[right:])


def _line(contest: Contest, scores: Sequence[TextScore], tokens: Sequence[int]) -> dict[str, Any]:
    subset = {"subset": contest.subset} if contest.subset else {}
    return {"id": contest.id, **subset, **pair_line(scores, tokens)}


def pair_line(scores: Sequence[TextScore], tokens: Sequence[int]) -> dict[str, Any]:
    """Return the stored line of a pair: scores and token counts of both sides, and standard
    deviations if the model has them."""
    chosen, rejected = scores
    line: dict[str, Any] = {"chosen": chosen.score, "rejected": rejected.score}
    if chosen.std is not None:
        line |= {"chosen_std": chosen.std, "rejected_std": rejected.std}
    return line | {"chosen_tokens": tokens[0], "rejected_tokens": tokens[1]}
