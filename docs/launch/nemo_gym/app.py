"""A NeMo Gym resources server that gets its verdicts from a Touchstone server.

Copy this folder to Gym's `resources_servers/touchstone`. A row that cannot be scored fails its
rollout; a busy server is retried.
"""

import asyncio
from typing import ClassVar

from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    BaseVerifyResponse,
    SimpleResourcesServer,
)
from nemo_gym.server_utils import get_response_json, raise_for_status, request
from pydantic import ConfigDict

BUSY = {429, 503}
MAX_TRIES = 60


class TouchstoneConfig(BaseResourcesServerConfig):
    # Rows are verified independently, so `gym eval reverify` may verify them again.
    REVERIFY_MODE: ClassVar[str] = "stateless"

    reward_url: str
    profile: str  # without a default, so that a misspelled key is an error
    api_key: str = ""


class TouchstoneVerifyRequest(BaseVerifyRequest):
    model_config = ConfigDict(extra="allow")


class TouchstoneVerifyResponse(BaseVerifyResponse):
    model_config = ConfigDict(extra="allow")


class TouchstoneServer(SimpleResourcesServer):
    config: TouchstoneConfig

    async def verify(self, body: TouchstoneVerifyRequest) -> TouchstoneVerifyResponse:
        url = f"{self.config.reward_url}/compat/nemo_gym/verify?profile={self.config.profile}"
        headers = {"Authorization": f"Bearer {self.config.api_key}"} if self.config.api_key else {}
        row = body.model_dump(mode="json")
        answer = await request("POST", url, json=row, headers=headers)
        for _ in range(MAX_TRIES):
            if answer.status not in BUSY:
                break
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
            answer = await request("POST", url, json=row, headers=headers)
        await raise_for_status(answer)
        return TouchstoneVerifyResponse.model_validate(await get_response_json(answer))


if __name__ == "__main__":
    TouchstoneServer.run_webserver()
