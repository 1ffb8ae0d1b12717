"""NeMo Gym's simple agent, its client and its resources server, with a scripted model.

The resources server is the one of docs/launch/nemo_gym: rollouts go through Gym's own
`/seed_session` and `/verify` to the reward server.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stubs import load, pretend

CHECKOUT, URL, APP, PORT = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
pretend("ray", "mlflow", "wandb", "yappi", "gprof2dot", "pydot", "anthropic", "mcp", "devtools")
sys.path.insert(0, str(CHECKOUT))

import nemo_gym.server_utils as server_utils  # noqa: E402  # pyright: ignore[reportMissingImports]
import uvicorn  # noqa: E402
from aiohttp import ClientResponseError  # noqa: E402  # pyright: ignore[reportMissingImports]
from fastapi import FastAPI, Request  # noqa: E402
from nemo_gym.config_types import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    BaseServerConfig,
    ModelServerRef,
    ResourcesServerRef,
)
from omegaconf import OmegaConf  # noqa: E402  # pyright: ignore[reportMissingImports]
from responses_api_agents.simple_agent.app import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    SimpleAgent,
    SimpleAgentConfig,
    SimpleAgentRunRequest,
)

touchstone = load(APP, "touchstone_app")


def here(kind: str) -> dict[str, Any]:
    return {kind: {"it": {"entrypoint": "app.py", "host": "127.0.0.1", "port": PORT}}}


servers = OmegaConf.create(
    {
        "policy_model": here("responses_api_models"),
        "touchstone": here("resources_servers"),
        "agent": here("responses_api_agents"),
    }
)
client = server_utils.ServerClient(
    head_server_config=BaseServerConfig(host="127.0.0.1", port=1), global_config_dict=servers
)
place = {"host": "127.0.0.1", "port": PORT, "entrypoint": "app.py"}
resources = touchstone.TouchstoneServer(
    config=touchstone.TouchstoneConfig(
        **place, name="touchstone", domain="math", reward_url=URL, profile="math"
    ),
    server_client=client,
)
agent = SimpleAgent(
    config=SimpleAgentConfig(
        **place,
        name="agent",
        resources_server=ResourcesServerRef(type="resources_servers", name="touchstone"),
        model_server=ModelServerRef(type="responses_api_models", name="policy_model"),
    ),
    server_client=client,
)

app: FastAPI = resources.setup_webserver()
SAID = {"text": ""}


@app.post("/v1/responses")
async def responses(_: Request) -> dict[str, Any]:
    """Answer as the policy, and as the agent's own model: both are called at this path."""
    part = {"type": "output_text", "text": SAID["text"], "annotations": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1.0,
        "model": "scripted",
        "output": [message],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }


def row(answer: Any) -> Any:
    asked = [{"role": "user", "content": "What is 6 + 40?"}]
    return SimpleAgentRunRequest.model_validate(
        {
            "responses_create_params": {"input": asked},
            "question": "What is 6 + 40?",
            "expected_answer": answer,
            "_ng_task_index": 7,
        }
    )


async def run(said: str, answer: Any) -> dict[str, Any]:
    SAID["text"] = said
    try:
        found = (await agent.run(SimpleNamespace(cookies={}), row(answer))).model_dump()
    except ClientResponseError as error:
        return {"error": f"{type(error).__name__}: {error.status}"}
    names = ("reward", "reward_components", "math", "question", "_ng_task_index")
    return {name: found[name] for name in names}


async def main() -> None:
    server_utils.set_global_aiohttp_client(server_utils.GlobalAIOHTTPAsyncClientConfig())
    serving = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=PORT, log_level="warning"))
    task = asyncio.create_task(serving.serve())
    while not serving.started:
        await asyncio.sleep(0.05)
    found = {
        "right": await run("It is \\boxed{46}.", "46"),
        "wrong": await run("It is \\boxed{45}.", "46"),
        "no_answer": await run("It is \\boxed{46}.", None),
    }
    serving.should_exit = True
    await server_utils.get_global_aiohttp_client().close()
    await task
    print(json.dumps(found))


asyncio.run(main())
