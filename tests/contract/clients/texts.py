"""The places where eight trainers ask their user for a reward, with the files of docs/launch.

texts.py CHECKOUT PROJECT REWARD_URL LAUNCH prints what the trainer holds: for a right and a wrong
response, for one that cannot be scored, and for that one where a number stands for it.
"""

from __future__ import annotations

import abc
import asyncio
import atexit
import contextlib
import dataclasses
import importlib
import inspect
import json
import os
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stubs import Stub, definitions, load, module, outcome, pretend

CHECKOUT, PROJECT, REWARD_URL, LAUNCH = Path(sys.argv[1]), *sys.argv[2:5]
QUESTION = "What is 6 + 40?"
RIGHT, WRONG = "So it is \\boxed{46}.", "So it is \\boxed{45}."


def launch_file(name: str) -> Any:
    return load(f"{LAUNCH}/{name}.py", name)


def areal() -> dict[str, Any]:
    import torch
    from tiny_tokenizer import chat_tokenizer

    from touchstone_rewards.clients.adapters.areal import reward_function

    tokenizer = chat_tokenizer()
    wrapper = definitions(
        CHECKOUT / "areal/api/reward_api.py",
        "AsyncRewardWrapper",
        "_get_device_count_safely",
        asyncio=asyncio,
        atexit=atexit,
        os=os,
        threading=threading,
        ProcessPoolExecutor=ProcessPoolExecutor,
        BrokenProcessPool=BrokenProcessPool,
        partial=partial,
        logger=Stub(),
    )["AsyncRewardWrapper"]
    rlvr = definitions(
        CHECKOUT / "areal/workflow/rlvr.py",
        "RLVRWorkflow",
        "default_get_input_ids_fn",
        "default_data_extract_prompt_fn",
        torch=torch,
        uuid=uuid,
        RolloutWorkflow=object,
        AsyncRewardWrapper=wrapper,
        ModelRequest=lambda **fields: SimpleNamespace(**fields),
        atrace_session_phase=lambda _: contextlib.nullcontext(),
        apply_chat_template=lambda chat, messages, **options: chat(messages[0]["content"])[
            "input_ids"
        ],
        **{
            name: Stub()
            for name in ("session_context", "trace_session", "stats_tracker", "workflow_context")
        },
    )
    module("areal.workflow.rlvr", RLVRWorkflow=rlvr["RLVRWorkflow"])
    file = launch_file("areal_workflow")
    gconfig = SimpleNamespace(new_with_stop_and_pad_token_ids=lambda _: gconfig, new=lambda **_: {})

    class Engine:
        def __init__(self, text: str) -> None:
            self.ids = tokenizer(text + "<|im_end|>", add_special_tokens=False)["input_ids"]

        async def agenerate(self, request: Any) -> Any:
            return SimpleNamespace(
                input_tokens=request.input_ids,
                output_tokens=self.ids,
                output_logprobs=[0.0] * len(self.ids),
                output_versions=[0] * len(self.ids),
                input_len=len(request.input_ids),
                output_len=len(self.ids),
            )

    def episode(text: str, answer: Any, **options: Any) -> float:
        file.reward = reward_function("math", url=REWARD_URL, **options)
        workflow = file.Workflow(gconfig=gconfig, tokenizer=tokenizer)
        row = {"messages": [{"role": "user", "content": QUESTION}], "answer": answer}
        found = asyncio.run(workflow.arun_episode(Engine(text), row))
        return found["rewards"].item()

    async def in_its_workers() -> Any:
        return await wrapper(file.reward)(QUESTION, RIGHT, [], [], answer="46")

    return {
        "batch": [episode(RIGHT, "6 + 40 = 46\n#### 46"), episode(WRONG, "46")],
        "unscorable": outcome(lambda: episode(RIGHT, None)),
        "constant": episode(RIGHT, None, null_reward=-1.0),
        "its_time_out": asyncio.run(wrapper(time.sleep, timeout_seconds=0.2, max_retries=0)(5)),
        "in_its_workers": isinstance(outcome(lambda: asyncio.run(in_its_workers())), str),
    }


def open_instruct() -> dict[str, Any]:
    cut = definitions(
        CHECKOUT / "open_instruct/ground_truth_utils.py",
        "VerifierConfig",
        "VerificationResult",
        "VerifierFunction",
        "apply_verifiable_reward",
        ABC=ABC,
        abstractmethod=abstractmethod,
        asyncio=asyncio,
        dataclasses=dataclasses,
        logger=Stub(),
    )
    module("open_instruct.ground_truth_utils", **cut)
    file = launch_file("open_instruct_verifier")
    [kind] = cut["VerifierFunction"].__subclasses__()

    def rewards(texts: list[str], truths: list[Any], **options: Any) -> Any:
        file.OPTIONS = {"profile": "math", "url": REWARD_URL, **options}
        verifier = kind(kind.get_config_class().from_args(SimpleNamespace(), None))
        count = len(texts)
        called = cut["apply_verifiable_reward"](
            {verifier.name: verifier},
            [[1]] * count,
            texts,
            truths,
            ["touchstone"] * count,
            reward_mult=10.0,
            queries=[QUESTION] * count,
        )
        plain = [
            verifier([1], text, truth).score for text, truth in zip(texts, truths, strict=True)
        ]
        found, _ = asyncio.run(called)
        return [reward / 10 for reward in found], plain

    batch, plain = rewards([RIGHT, WRONG], ["46", "46"])
    assert batch == plain
    return {
        "batch": batch,
        "unscorable": outcome(lambda: rewards([RIGHT], [""])),
        "constant": rewards([RIGHT], [""], null_reward=-1.0)[0][0],
    }


def rllm() -> dict[str, Any]:
    from touchstone_rewards.clients.adapters.rllm import reward_function

    types = load(CHECKOUT / "rllm/rewards/reward_types.py", "rllm_reward_types")
    module("rllm.rewards.reward_types", RewardOutput=types.RewardOutput)
    terminated = type("TerminationEvent", (Exception,), {})
    steps: list[Any] = []
    flow = definitions(
        CHECKOUT / "rllm/workflows/simple_workflow.py",
        "SimpleWorkflow",
        Workflow=type(
            "Workflow",
            (),
            {
                "__init__": lambda self, engine, **_: setattr(self, "rollout_engine", engine),
                "reset": lambda *_: None,
                "commit": lambda *_, **__: None,
            },
        ),
        SimpleAgent=lambda: SimpleNamespace(trajectory=SimpleNamespace(steps=steps)),
        Action=lambda **fields: SimpleNamespace(**fields),
        Step=lambda **fields: SimpleNamespace(**fields),
        TerminationEvent=terminated,
        TerminationReason=Stub(),
        ModelOutput=object,
    )["SimpleWorkflow"]

    def reward(text: str, truth: Any, **options: Any) -> float:
        async def answer(*_: Any, **__: Any) -> Any:
            return SimpleNamespace(content=text, reasoning=None, finish_reason="stop")

        engine = SimpleNamespace(get_model_response=answer)
        workflow = flow(engine, reward_function("math", url=REWARD_URL, **options))
        with contextlib.suppress(terminated):
            asyncio.run(workflow.run({"question": QUESTION, "ground_truth": truth}, "1"))
        return steps.pop().reward

    return {
        "batch": [reward(RIGHT, "46"), reward(WRONG, "46")],
        "unscorable": outcome(lambda: reward(RIGHT, None)),
        "constant": reward(RIGHT, None, null_reward=-1.0),
    }


def tunix() -> dict[str, Any]:
    import numpy

    from touchstone_rewards.clients.adapters.tunix import reward_function

    manager = definitions(
        CHECKOUT / "tunix/rl/reward_manager.py",
        "AbstractRewardManager",
        "SequenceRewardManager",
        "_calculate_scalar_reward_log_metrics",
        abc=abc,
        asdict=dataclasses.asdict,
        function_registry=Stub(),
        inspect=inspect,
        logging=Stub(),
        np=numpy,
        os=os,
        Sequence=Sequence,
    )["SequenceRewardManager"]
    config = dataclasses.make_dataclass("Config", [("beta", float, 0.0), ("profile", str, "none")])

    def rewards(function: Any, texts: list[str], answers: list[Any]) -> Any:
        found = manager(function, config())(
            prompts=[QUESTION] * len(texts),
            completions=texts,
            answer=numpy.array(answers, dtype=object),
        )
        assert f"rewards/{function.__name__}" in found["log_metrics"]
        return found["rewards"].tolist()

    ours = reward_function("math", url=REWARD_URL)
    lenient = reward_function("math", url=REWARD_URL, null_reward=-1.0)
    return {
        "batch": rewards(ours, [RIGHT, WRONG], ["46", "46"]),
        "unscorable": outcome(lambda: rewards(ours, [RIGHT, RIGHT], [None, "46"])),
        "constant": rewards(lenient, [RIGHT, RIGHT], [None, "46"])[0],
        "a_none_of_another": rewards(lambda **_: [None], [RIGHT], ["46"]),
    }


def tinker_cookbook() -> dict[str, Any]:
    def types(*names: str) -> dict[str, Any]:
        return definitions(
            CHECKOUT / "tinker_cookbook/rl/types.py",
            *names,
            ABC=ABC,
            abstractmethod=abstractmethod,
            dataclass=dataclasses.dataclass,
            field=dataclasses.field,
            safezip=lambda *rows: zip(*rows, strict=True),
        )

    envs = ("Env", "EnvGroupBuilder", "StepResult")
    cut = types(*envs, "Transition", "Trajectory", "TrajectoryGroup")
    problem = definitions(
        CHECKOUT / "tinker_cookbook/rl/problem_env.py",
        "ProblemEnv",
        "ProblemGroupBuilder",
        **{name: cut[name] for name in envs},
        abstractmethod=abstractmethod,
        dataclass=dataclasses.dataclass,
        tinker=Stub(),
        logtree=SimpleNamespace(
            scope_header=lambda _: contextlib.nullcontext(),
            log_formatter=print,
            table_from_dict=lambda *_, **__: None,
        ),
        ConversationFormatter=lambda **_: "",
        renderers=SimpleNamespace(get_text_content=lambda message: message["content"]),
    )
    module("tinker_cookbook.rl.problem_env", **problem)
    file = launch_file("tinker_env")
    renderer = SimpleNamespace(
        get_stop_sequences=list,
        parse_response=lambda text: ({"content": text}, SimpleNamespace(is_stop_sequence=True)),
    )

    def rewards(texts: list[str], answer: Any, null_reward: float | None = None) -> list[float]:
        file.URL, file.NULL_REWARD = REWARD_URL, null_reward
        builder = file.TouchstoneGroup(
            lambda: file.TouchstoneEnv(QUESTION, answer, renderer), len(texts)
        )

        async def rollouts() -> Any:
            made_envs = await builder.make_envs()
            paths = []
            for env, text in zip(made_envs, texts, strict=True):
                step = await env.step(text)
                assert set(step.metrics) == {"format"}
                made = cut["Transition"](
                    ob=None, ac=None, reward=step.reward, episode_done=True, metrics=step.metrics
                )
                paths.append(cut["Trajectory"](transitions=[made], final_ob=None))
            found = await builder.compute_group_rewards(paths, made_envs)
            final, metrics = zip(*found, strict=True)
            return cut["TrajectoryGroup"](paths, list(final), list(metrics)).get_total_rewards()

        return asyncio.run(rollouts())

    return {
        "batch": rewards([RIGHT, WRONG], "46"),
        "unscorable": outcome(lambda: rewards([RIGHT], None)),
        "constant": rewards([RIGHT], None, -1.0)[0],
    }


def skyrl() -> dict[str, Any]:
    pretend("pandas", "requests", "func_timeout", "omegaconf")
    sys.path.insert(0, str(CHECKOUT / "skyrl-gym"))
    gym = importlib.import_module("skyrl_gym")
    file = launch_file("skyrl_env")
    gym.register(id="touchstone", entry_point="skyrl_env:TouchstoneEnv")

    def reward(text: str, truth: Any, **options: Any) -> float:
        file.OPTIONS = {"profile": "math", "url": REWARD_URL, **options}
        extras = {"reward_spec": {"ground_truth": truth}, "data_source": "sums", "max_turns": 1}
        env = gym.make("touchstone", env_config={}, extras=extras)
        env.init([{"role": "user", "content": QUESTION}])
        found = env.step(text)
        assert found["done"] is True
        return found["reward"]

    return {
        "batch": [reward(RIGHT, "46"), reward(WRONG, "46")],
        "unscorable": outcome(lambda: reward(RIGHT, None)),
        "constant": reward(RIGHT, None, null_reward=-1.0),
    }


def torchtitan() -> dict[str, Any]:
    @contextlib.contextmanager
    def span(_: str) -> Iterator[None]:
        yield

    log = SimpleNamespace(log_trace_span=span)
    module("torchtitan.observability", structured_logger=log)
    file = load(CHECKOUT / "torchtitan/config/configurable.py", "torchtitan_configurable")
    module("torchtitan.config", Configurable=file.Configurable)
    module("torchtitan.experiments.rl.rollout.types", Rollout=object)
    file = load(CHECKOUT / "torchtitan/experiments/rl/rubrics/rubric.py", "torchtitan_rubrics")
    module("torchtitan.experiments.rl.rubrics", RewardFn=file.RewardFn)
    rubrics = file.Rubric
    kind = launch_file("torchtitan_rubric").TouchstoneReward
    status = SimpleNamespace(is_truncated=lambda: False, is_error=lambda: False)
    failed = SimpleNamespace(is_truncated=lambda: False, is_error=lambda: True)

    def rewards(texts: list[str | None], truth: Any, chosen: Any = None, **options: Any) -> Any:
        rollouts = [
            SimpleNamespace(
                group_id=3,
                status=failed if text is None else status,
                turns=[]
                if text is None
                else [SimpleNamespace(completion_message={"content": text})],
            )
            for text in texts
        ]
        fn = kind.Config(url=REWARD_URL, **options)
        rubric = rubrics.Config(reward_fns=[fn], error_reward=chosen).build()
        row = SimpleNamespace(prompt=QUESTION, ground_truth=truth)
        return [one.reward for one in asyncio.run(rubric.score_group(rollouts, row))]

    return {
        "batch": rewards([RIGHT, WRONG], "46"),
        "unscorable": outcome(lambda: rewards([RIGHT], None)),
        "constant": rewards([RIGHT], None, null_reward=-1.0)[0],
        "no_answer": outcome(lambda: rewards([RIGHT, None], "46"))[:9],
        "its_error_reward": rewards([RIGHT, None], "46", -2.0),
    }


def axolotl() -> dict[str, Any]:
    find = definitions(
        CHECKOUT / "src/axolotl/core/trainers/grpo/__init__.py",
        "get_reward_func",
        importlib=importlib,
        inspect=inspect,
        LOG=Stub(),
    )["get_reward_func"]
    sys.path.insert(0, LAUNCH)
    function = find.__func__(None, "axolotl_rewards.math")

    def rewards(texts: list[str], answers: list[Any]) -> Any:
        called = function(
            prompts=[QUESTION] * len(texts), completions=texts, completion_ids=texts, answer=answers
        )
        return asyncio.run(called) if inspect.iscoroutine(called) else called

    return {
        "batch": rewards([RIGHT, WRONG], ["46", "46"]),
        "unscorable": rewards([RIGHT, RIGHT], ["46", {"odd": 1}]),
    }


print(json.dumps(globals()[PROJECT]()))
