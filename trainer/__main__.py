"""The `trainer` command: import the chosen subcommand only, and turn errors into exit codes.

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
    "rm": "train a reward model on preference pairs; --eval measures one",
    "dpo": "direct preference optimization on preference pairs",
    "grpo": "GRPO with rewards from a reward server",
    "ppo": "PPO with a critic; rewards from a reward server or from rules run in this process",
    "lim": "select the prompts worth training on, from the samples that a run kept",
    "limr": "LIMR in three resumable stages: PPO, prompt selection, PPO on the selection",
    "run": "run a LLaMA-Factory YAML file: stage sft, rm, dpo or ppo",
    "study grpo": "compare GRPO settings over several seeds; resumable",
    "eval": "generate and score responses: accuracy, pass@k and maj@k with intervals",
    "merge": "merge a LoRA adapter into its base model",
    "compare": "compare runs or evaluations: one page and a table",
    "convert": "convert a reward model to the value-head layout or back",
    "data pairs": "make preference pairs from the samples that a run kept",
    "data story": "make rows for story training from ShareGPT conversations",
    "data show": "print one row of a data file",
    "completion": "print a shell's completion script: trainer completion {bash,zsh,tcsh}",
    "demo": "train a pretrained model on arithmetic while its server is killed and restarted",
    "quick_demo": "train a small model from scratch (SFT, then GRPO) and report; no downloads",
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
    """Return the text of `trainer --help`."""
    lines = ["usage: trainer COMMAND [--config FILE.yaml] [--any_field value]", "", "commands:"]
    lines += [f"  {name:<12}{text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "`trainer COMMAND --help` lists its options, `--help_all` every one of TRL's too;",
        "`--traceback` shows where an error came from.",
    ]
    return "\n".join(lines)


def environment(command: str) -> dict[str, str]:
    """Return the environment variables that must be set before the libraries are imported.

    They turn off telemetry and download counts: each load would wait for a remote host, which takes
    seconds on a machine without a network. The demos need nothing from a hub at all. Variables that
    the user has set take precedence.
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
    # The docs recommend this field and it works, so users need no warning at each start.
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
    """Run `main`; after a success, wait for the other ranks before this process exits."""
    code = main()
    if code == 0:
        part()
    return code


def part() -> None:
    """Let all ranks of a training run exit together: gloo aborts a rank whose peer left first.

    Call this last: a destroyed process group cannot be created again.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(entry())
