"""`trainer eval`: generate responses, score them with the reward server, report with intervals.

Input are a model and rows with ground truths; output are results per response, `summary.json` and a
table on the screen. Only the response is scored, without its prompt. A response that could not be
scored is counted separately, never as wrong. An interrupted evaluation continues generating where
it stopped, and scores everything again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from rich.console import Console

from touchstone_rewards.clients import Sample
from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.rows import (
    PromptArguments,
    ensure_sample_ids,
    load_rows,
    with_prompts,
)
from touchstone_rewards.trainer.data.truths import with_truths
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.evaluation.figures import (
    ResultGroup,
    default_ks,
    maj_at,
    pass_at,
    summarize,
)
from touchstone_rewards.trainer.evaluation.generated import (
    append_batch,
    check_output,
    identity,
    open_generated,
)
from touchstone_rewards.trainer.evaluation.generation import Generation, generate, plan_batches
from touchstone_rewards.trainer.evaluation.known_sets import known_set, question_column
from touchstone_rewards.trainer.evaluation.page import write_page
from touchstone_rewards.trainer.evaluation.votes import ScoreFunction, answer_of, classes_of
from touchstone_rewards.trainer.evaluation.write import (
    RESULTS,
    as_table,
    at_k_table,
    write_results,
    write_summary,
)
from touchstone_rewards.trainer.reward_arguments import ServeArguments
from touchstone_rewards.trainer.rewards import (
    check_server,
    connect,
    error_of,
    readers_of,
    score_all,
)
from touchstone_rewards.trainer.workflow.local_server import served


@dataclass
class EvalArguments:
    """The model, the data and the profiles. The API key is read from REWARD_API_KEY."""

    model: str | None = field(default=None, metadata={"help": "A model folder or hub name."})
    benchmark: str | None = field(
        default=None,
        metadata={
            "help": "gsm8k or math500: sets the columns, and the hub name if dataset is not given."
        },
    )
    dataset: list[str] | None = field(
        default=None,
        metadata={
            "help": "Files, patterns, folders or hub names, like dataset_name of other commands."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of a hub dataset."}
    )
    dataset_split: str = field(
        default="test",
        metadata={"help": "Split of a hub dataset, or a slice such as test[:5%] (also of a file)."},
    )
    max_rows: int | None = field(
        default=None, metadata={"help": "Use only the first max_rows rows. Default: all."}
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Skip rows without a prompt, and name them."}
    )
    output: str | None = field(
        default=None,
        metadata={"help": "Folder for the results. Default: output_file without .json."},
    )
    output_file: str | None = field(
        default=None,
        metadata={
            "help": ".json file for the list of prompt, completion, solution and reward. "
            "Default: eval_results.json in output."
        },
    )
    profile: str = field(
        default="math", metadata={"help": "Profile that decides which responses are right."}
    )
    also_profile: list[str] | None = field(
        default=None, metadata={"help": "Further profiles that score the same responses."}
    )
    reward_url: list[str] | None = field(
        default=None,
        metadata={"help": "One or more server URLs. Default: REWARD_URL, else port 8700."},
    )
    reward_timeout_s: float = field(
        default=300.0, metadata={"help": "Longest wait for the scores of one profile."}
    )
    ground_truth_column: str = field(
        default="ground_truth", metadata={"help": "Column with the reference answers."}
    )
    k: list[int] | None = field(
        default=None,
        metadata={
            "help": "Values of k for pass@k and maj@k. Default: 1, 2, 4, ... and num_samples."
        },
    )

    def __post_init__(self) -> None:
        if isinstance(self.dataset, str):
            self.dataset = [self.dataset]
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(
                f"max_rows must be 1 or more (leave it out for all), not {self.max_rows}"
            )
        if self.output and self.output.endswith(".json"):
            raise ValueError(
                f"output must be a folder: give a file such as {self.output} as output_file"
            )
        if self.output_file and not self.output_file.endswith(".json"):
            raise ValueError(f"output_file must be a .json file, not {self.output_file}")
        if self.output_file and not self.output:
            self.output = self.output_file.removesuffix(".json")


class EvalConfigs(NamedTuple):
    """The options of `trainer eval`."""

    arguments: EvalArguments
    prompts: PromptArguments
    serve: ServeArguments
    generation: Generation


OPTIONS = EvalConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, generate, score, and write.

    Raises:
        InputError: the options, the model or the data cannot be used.
        RunFailed: no reward server answers, or no response could be scored.
    """
    arguments, prompts, serve, generation = parse_config(EvalConfigs, argv, "trainer eval")
    model = require(arguments.model, "model")
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise InputError(f"no model folder at {model}")
    output = Path(require(arguments.output, "output"))
    check_output(output, arguments.output_file)
    if arguments.benchmark:
        known_set(arguments.benchmark)  # reject an unknown one before waiting for a server
    if any(not 1 <= k <= generation.num_samples for k in arguments.k or ()):
        raise InputError(f"k must be 1 to num_samples, which is {generation.num_samples}")
    with served(serve, arguments.reward_url, output) as arguments.reward_url:
        infos = check_server(arguments.reward_url, profiles_of(arguments))
        rows = rows_of(arguments, prompts, readers_of("ground_truth", infos))
        responses = respond(model, rows["prompt"], generation, output)
        summary = score_and_write(arguments, rows, responses, asdict(generation))
    console = Console()
    console.print(as_table({Path(model).name: summary}))
    if "pass_at" in summary:
        console.print(at_k_table(summary))


def profiles_of(arguments: EvalArguments) -> list[str]:
    """Return the profile that decides, then the others."""
    return [arguments.profile, *(arguments.also_profile or ())]


def rows_of(
    arguments: EvalArguments, prompts: PromptArguments, readers: Sequence[str] | None = None
) -> Dataset:
    """Return the rows with `id`, `prompt` and `ground_truth`.

    `readers` are the profiles that read the ground truth; without any, the data may lack it.

    Raises:
        InputError: the data or a column is missing.
    """
    known = known_set(arguments.benchmark) if arguments.benchmark else None
    bad = {"skip_bad_rows": arguments.skip_bad_rows}
    if known and not arguments.dataset:
        rows = load_rows(known.dataset, known.config, known.split, **bad)
    else:
        name = require(arguments.dataset, "dataset (or --benchmark)")
        rows = load_rows(name, arguments.dataset_config, arguments.dataset_split, **bad)
    rows = rows.select(range(min(len(rows), arguments.max_rows or len(rows))))
    truth = arguments.ground_truth_column
    if known:
        question = question_column(known, rows.column_names, prompts.question_column)
        prompts = replace(prompts, question_column=question)
        truth = truth if truth in rows.column_names else known.ground_truth
    rows = with_truths(rows, truth, readers)
    rows = ensure_sample_ids(with_prompts(rows, prompts, **bad))
    kept = rows.select_columns(list(dict.fromkeys(["id", "prompt", truth])))
    return kept if truth == "ground_truth" else kept.rename_column(truth, "ground_truth")


def respond(
    model: str, prompts: Sequence[Any], generation: Generation, output: Path
) -> list[list[str]]:
    """Return the responses per prompt; reuse those of an earlier, interrupted evaluation.

    Raises:
        InputError: the output holds another evaluation, or the model cannot be loaded.
    """
    settings = asdict(generation)
    del settings["gpu_memory_utilization"]  # an interrupted run may continue with another value
    done = open_generated(output, identity(model, prompts, generation.chat_template) | settings)
    for number, responses in generate(model, prompts, generation, done):
        append_batch(output, number, responses)
        done[number] = responses
    by_place: dict[int, list[str]] = {}
    for number, places in enumerate(plan_batches(prompts, generation)):
        by_place.update(zip(places, done[number], strict=True))
    return [by_place[place] for place in range(len(prompts))]


def score_and_write(
    arguments: EvalArguments,
    rows: Dataset,
    responses: Sequence[Sequence[str]],
    generation: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Score the responses, write all files, and return the summary.

    Raises:
        RunFailed: no response could be scored; the files are written anyway.
    """
    groups = samples_of(rows, responses)
    samples = [sample for group in groups for sample in group]
    most = max(map(len, groups))
    profiles = profiles_of(arguments)
    with connect(arguments.reward_url, arguments.reward_timeout_s) as client:
        score = partial(score_all, client, priority="eval", explain=most > 1)
        scored = {name: score(samples, name) for name in profiles}
        grouped = {name: in_groups(results, groups) for name, results in scored.items()}
        first = grouped[arguments.profile]
        summary = summarize(first)
        if most > 1:
            same = partial(score, profile=arguments.profile)
            summary |= of_k(groups, first, same, arguments.k or default_ks(most))
    output = Path(require(arguments.output, "output"))
    summary |= {
        "profile": arguments.profile,
        "model": arguments.model,
        "dataset": " ".join(arguments.dataset or [str(arguments.benchmark)]),
        "generation": generation,
        "also": {name: summarize(grouped[name]) for name in profiles[1:]},
        "results_path": str(output / RESULTS),
    }
    write_results(output, samples, scored, arguments.output_file)
    write_summary(output, summary)
    write_page(output)
    if summary["num_failed"] == len(samples):
        reason = error_of(scored[arguments.profile][0]) or {"message": "no reward"}
        raise RunFailed(f"no response could be scored: {reason['message']}")
    return summary


def of_k(
    groups: Sequence[Sequence[Sample]],
    results: Sequence[ResultGroup],
    score: ScoreFunction,
    ks: Sequence[int],
) -> dict[str, object]:
    """Return pass@k, and maj@k if the profile reads an answer that can be voted on."""
    found: dict[str, object] = {"pass_at": pass_at(results, ks), "maj_at": None}
    if any(answer_of(result) for group in results for result in group):
        found["maj_at"] = maj_at(results, classes_of(groups, results, score), ks)
    return found


def samples_of(rows: Dataset, responses: Sequence[Sequence[str]]) -> list[list[Sample]]:
    """Return the samples to send, row by row.

    The prompt is included for scorers that read prompts; none extracts answers from it.
    """
    return [
        [
            Sample(
                id=row_id if len(texts) == 1 else f"{row_id}/{number}",
                group_id=row_id,
                prompt=prompt,
                response=text,
                ground_truth=truth,
            )
            for number, text in enumerate(texts)
        ]
        for row_id, prompt, truth, texts in zip(
            rows["id"], rows["prompt"], rows["ground_truth"], responses, strict=True
        )
    ]


def in_groups(results: Sequence[object], groups: Sequence[Sequence[object]]) -> list[list[Any]]:
    """Split the results into groups of the given sizes."""
    left = iter(results)
    return [[next(left) for _ in group] for group in groups]
