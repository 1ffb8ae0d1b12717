from touchstone_rewards.clients import RemoteRewardClient

SAMPLES = [
    {"id": "right", "prompt": "What is 6 + 40?", "response": "It is 46.", "ground_truth": "46"},
    {"id": "wrong", "prompt": "What is 6 + 40?", "response": "It is 45.", "ground_truth": "46"},
    {
        "id": "prose",
        "prompt": "Where is the function continuous?",
        "response": "It never jumps, anywhere.",
        "ground_truth": "the function is continuous everywhere",
    },
]
for result in RemoteRewardClient("http://127.0.0.1:8700").score(SAMPLES, profile="math_then_judge"):
    print(f"{result.id:7} {result.reward} decided by {result.decided_by['math']}")
