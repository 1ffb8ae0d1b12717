"""Run NeMo Gym's simple agent and client with the resources server of docs/launch, and report each
row's reward, which `gym eval reverify` must reproduce.

The policy is an endpoint that returns the samples' responses. Rows pass through Gym's own
/seed_session, /verify and RolloutReverificationHelper.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from held import CHECKOUT, TASK, URL, Lookup, commit, run, said, told

assert CHECKOUT is not None
sys.path.insert(0, CHECKOUT)

import uvicorn  # noqa: E402
from fastapi import FastAPI, Request  # noqa: E402

utils: Any = importlib.import_module("nemo_gym.server_utils")
config_types: Any = importlib.import_module("nemo_gym.config_types")
again: Any = importlib.import_module("nemo_gym.rollout_reverification")
agents: Any = importlib.import_module("responses_api_agents.simple_agent.app")
OmegaConf: Any = importlib.import_module("omegaconf").OmegaConf
IN_FLIGHT = 16


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("touchstone_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["touchstone_app"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


touchstone = load(TASK["launch"] + "/nemo_gym/app.py")
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)


class Gym:
    """One resources server, an agent and a policy, all at one port."""

    def __init__(self, profile: str, lookup: Lookup, port: int) -> None:
        self.lookup = lookup
        place = {"host": "127.0.0.1", "port": port, "entrypoint": "app.py"}
        named = {"resources_servers": "touchstone", "responses_api_models": "policy_model"}
        reference = {"type": "resources_servers", "name": "touchstone"}
        servers = {name: {kind: {"it": dict(place)}} for kind, name in named.items()}
        agent = {"it": {**place, "resources_server": reference}}
        servers["agent"] = {"responses_api_agents": agent}
        self.client = utils.ServerClient(
            head_server_config=config_types.BaseServerConfig(host="127.0.0.1", port=1),
            global_config_dict=OmegaConf.create(servers),
        )
        resources = touchstone.TouchstoneServer(
            config=touchstone.TouchstoneConfig(
                **place, name="touchstone", domain="math", reward_url=URL, profile=profile
            ),
            server_client=self.client,
        )
        model = {"type": "responses_api_models", "name": "policy_model"}
        self.agent = agents.SimpleAgent(
            config=agents.SimpleAgentConfig(
                **place,
                name="agent",
                resources_server=config_types.ResourcesServerRef(**reference),
                model_server=config_types.ModelServerRef(**model),
            ),
            server_client=self.client,
        )
        app: FastAPI = resources.setup_webserver()
        app.post("/v1/responses")(self.responses)
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error")
        self.serving = uvicorn.Server(config)

    async def responses(self, request: Request) -> dict[str, Any]:
        """Answer as the policy and as the agent: both use this path."""
        asked = await request.body()
        text = self.lookup.next(re.sub(r"\\u[0-9a-f]{4}", "", asked.decode()))
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
        return {
            "id": "r",
            "object": "response",
            "created_at": 1.0,
            "model": "scripted",
            "output": [{**message, "content": [part]}],
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
        }


def row_of(sample: dict[str, Any], place: int) -> dict[str, Any]:
    return {
        "responses_create_params": {"input": [{"role": "user", "content": sample["prompt"]}]},
        "expected_answer": sample["ground_truth"],
        **sample["metadata"],
        "_ng_task_index": place,
        "_ng_rollout_index": 0,
        "agent_ref": {"type": "responses_api_agents", "name": "agent"},
    }


async def rollouts(gym: Gym, rows: list[dict[str, Any]]) -> list[Any]:
    turns = asyncio.Semaphore(IN_FLIGHT)

    async def one(row: dict[str, Any]) -> Any:
        async with turns:
            asked = agents.SimpleAgentRunRequest.model_validate(row)
            return (await gym.agent.run(SimpleNamespace(cookies={}), asked)).model_dump(mode="json")

    return await asyncio.gather(*(one(row) for row in rows), return_exceptions=True)


async def reverified(gym: Gym, rows: list[dict[str, Any]], done: list[Any]) -> dict[int, float]:
    """Return the rewards of `gym eval reverify` by row index."""
    folder = Path(tempfile.mkdtemp())
    rolled = [row | {"response": made["response"]} for row, made in zip(rows, done, strict=True)]
    for name, lines in (("inputs", rows), ("rollouts", rolled)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    again.setup_server_client = lambda: gym.client
    config = again.RolloutReverificationConfig(
        materialized_inputs_jsonl_fpath=str(folder / "inputs.jsonl"),
        rollouts_jsonl_fpath=str(folder / "rollouts.jsonl"),
        output_jsonl_fpath=str(folder / "again.jsonl"),
        disable_aggregation=True,
        num_samples_in_parallel=IN_FLIGHT,
    )
    await again.RolloutReverificationHelper().run_from_config(config)
    lines = (folder / "again.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return {each["_ng_task_index"]: each["reward"] for each in found}


def text_of(made: dict[str, Any]) -> str:
    return made["response"]["output"][-1]["content"][0]["text"]


async def through_gym(part: dict[str, Any], port: int) -> dict[str, Any]:
    samples, lookup = part["samples"], Lookup(part["samples"])
    gym = Gym(part["profile"], lookup, port)
    task = asyncio.create_task(gym.serving.serve())
    while not gym.serving.started:
        await asyncio.sleep(0.05)
    rows = [row_of(sample, place) for place, sample in enumerate(samples)]
    done = await rollouts(gym, rows)
    raised = [each for each in done if isinstance(each, Exception)]
    if raised and not part["null"]:
        raise raised[0]
    whole = [(row, made) for row, made in zip(rows, done, strict=True) if isinstance(made, dict)]
    rewards = {
        lookup.id_of(samples[row["_ng_task_index"]]["prompt"], text_of(made)): made["reward"]
        for row, made in whole
    }
    more: dict[str, Any] = {}
    if raised:
        more["then"] = f"{len(raised)} of {len(done)} rollouts fail: {said(raised[0])}"
    elif not part["null"]:
        second = await reverified(gym, rows, done)
        assert all(second[row["_ng_task_index"]] == made["reward"] for row, made in whole)
        more["then"] = f"reverify gives the same {len(second)} rewards"
    gym.serving.should_exit = True
    await task
    return told("float64", rewards, **more)


PORTS = iter(TASK["ports"])


def hold(part: dict[str, Any]) -> dict[str, Any]:
    return loop.run_until_complete(through_gym(part, next(PORTS)))


async def client() -> None:
    utils.set_global_aiohttp_client(utils.GlobalAIOHTTPAsyncClientConfig())


loop.run_until_complete(client())
run(commit(), hold)
