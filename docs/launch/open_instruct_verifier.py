"""A verifier for open-instruct, used by rows whose `dataset` is touchstone.

Other rows use it with `--remap_verifier gsm8k=touchstone`. Start the training with

python -c 'import open_instruct_verifier, runpy
runpy.run_module("open_instruct.grpo_fast", run_name="__main__", alter_sys=True)' ARGUMENTS
"""

from typing import Any

from open_instruct.ground_truth_utils import VerificationResult, VerifierFunction

from touchstone_rewards.clients.adapters.texts import reward_of, reward_of_async

OPTIONS: dict[str, Any] = {"profile": "math"}  # and url, null_reward


class TouchstoneVerifier(VerifierFunction):
    def __init__(self, verifier_config: Any = None) -> None:
        super().__init__("touchstone", weight=1.0, verifier_config=verifier_config)

    def __call__(self, tokenized_prediction, prediction, label, query=None, rollout_state=None):
        reward, _ = reward_of(prediction, label, {"prompt": query}, **OPTIONS)
        return VerificationResult(score=reward)

    async def async_call(
        self, tokenized_prediction, prediction, label, query=None, rollout_state=None
    ):
        reward, _ = await reward_of_async(prediction, label, {"prompt": query}, **OPTIONS)
        return VerificationResult(score=reward)
