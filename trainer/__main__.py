"""The `trainer` command: picks a subcommand, imports only that one, turns errors into exit codes.

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module

from touchstone_rewards import __version__
from touchstone_rewards.trainer.errors import told
from touchstone_rewards.trainer.help import help_of

COMMANDS: dict[str, str] = {
    "sft": "supervised fine-tuning on prompts and responses",
    "rm": "a reward model from preference pairs; with --eval, how well one ranks",
    "dpo": "direct preference optimization on preference pairs",
    "grpo": "GRPO with rewards from a reward server",
    "ppo": "PPO with a critic; rewards from a reward server, or by rules in this process",
    "lim": "select the prompts worth learning from, by the samples a run kept",
    "limr": "PPO, selection, training on the selection: three stages, resumable",
    "run": "a LLaMA-Factory YAML file, by its stage: sft, rm, dpo, ppo",
    "study grpo": "GRPO under several settings and seeds, compared; resumable",
    "eval": "generate, score through the server: rates, pass@k, maj@k with intervals",
    "merge": "a LoRA adapter and its base as one plain model folder",
    "compare": "runs or evaluations side by side: one page, and a table",
    "convert": "a reward model to the value-head layout, or back",
    "data pairs": "preference pairs from the samples that a run kept",
    "data story": "rows for training on stories from conversations in ShareGPT's form",
    "data show": "one row of a data file, readably",
    "completion": "print a shell's completion script: trainer completion {bash,zsh,tcsh}",
    "demo": "a pretrained model learns arithmetic from a server that is killed half-way; report",
    "quick_demo": "a small model from nothing: SFT, eval, GRPO, eval, report; no downloads",
}
MODULES = {
    "sft": "sft",
    "rm": "preference.reward_model",
    "dpo": "preference.dpo",
    "grpo": "grpo.command",
    "ppo": "ppo.command",
    "lim": "lim.command",
    "limr": "limr.command",
    "run": "workflow.run_file",
    "study grpo": "study.command",
    "eval": "evaluation.command",
    "merge": "running.merge",
    "compare": "running.compare",
    "convert": "preference.convert",
    "data pairs": "preference.pairs",
    "data story": "story.convert",
    "data show": "data.show",
    "completion": "completion",
    "demo": "demo.command",
    "quick_demo": "toy.demo",
}


def usage() -> str:
    """The text of `trainer --help`."""
    lines = ["usage: trainer COMMAND [--config FILE.yaml] [--any_field value]", "", "commands:"]
    lines += [f"  {name:<12}{text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "`trainer COMMAND --help` lists its options, `--help_all` every one of TRL's too;",
        "`--traceback` shows where an error came from.",
    ]
    return "\n".join(lines)


def environment(command: str) -> dict[str, str]:
    """What the libraries read when they are imported; a setting of the user's own wins.

    They would report every load to hosts outside, and wait for the answer: on a machine without
    a network that is seconds each time. The demos need nothing from a hub at all.
    """
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    return quiet | ({"HF_HUB_OFFLINE": "1"} if command.endswith("demo") else {})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"touchstone {__version__}")
        return 0
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    command, rest = " ".join(arguments[:words]), arguments[words:]
    if command not in COMMANDS:
        print(f"trainer: no command {command!r}; one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    os.environ.update(environment(command) | os.environ)
    # The docs advise the field, and it works: nothing to tell the user at each start.
    warnings.filterwarnings("ignore", r"`\w*gradient_checkpointing\w*` is deprecated")
    wants_traceback, rest = "--traceback" in rest, [word for word in rest if word != "--traceback"]
    try:
        _run(command, rest)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  the command's boundary: one line, whoever raised it
        if wants_traceback:
            traceback.print_exception(error)
        line, code = told(error)
        print(f"trainer {command}: {line}", file=sys.stderr)
        return code
    return 0


def _run(command: str, words: list[str]) -> None:
    if asked := {"-h", "--help", "--help_all"} & set(words):
        module = f"touchstone_rewards.trainer.{MODULES[command]}"
        print(help_of(command, module, COMMANDS[command], every="--help_all" in asked))
    else:
        import_module(f"{__package__}.{MODULES[command]}").run(words)


def entry() -> int:
    """`main`, with nothing to follow it in this process."""
    code = main()
    if code == 0:
        part()
    return code


def part() -> None:
    """The processes of one training end together: gloo aborts one whose peer left before it.

    Only at the very end: a process group cannot be made again where one was.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(entry())
