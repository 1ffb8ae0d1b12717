from touchstone_rewards.clients import RemoteRewardClient

PROMPT = [{"role": "user", "content": "How do I tie a knot?"}]
ANSWERS = ["Whatever.", "Start slowly and check each step.", "No idea."]
samples = [{"id": str(n), "prompt": PROMPT, "response": text} for n, text in enumerate(ANSWERS)]
client = RemoteRewardClient("http://127.0.0.1:8700")
rewards = [result.reward for result in client.score(samples, profile="helpful")]
others = [result.reward for result in client.score(samples, profile="helpful_value_head")]
same = all(abs(a - b) < 1e-4 for a, b in zip(rewards, others, strict=True))
print("both layouts give the same reward:", same)
print("best:", ANSWERS[rewards.index(max(rewards))])
