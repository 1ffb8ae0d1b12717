from touchstone_rewards.clients import RemoteRewardClient

PROMPT = [{"role": "user", "content": "How do I tie a knot?"}]
ANSWERS = ["Whatever.", "Start slowly and check each step.", "No idea."]
samples = [{"id": str(n), "prompt": PROMPT, "response": text} for n, text in enumerate(ANSWERS)]
client = RemoteRewardClient("http://127.0.0.1:8700")
rewards = [result.reward for result in client.score(samples, profile="helpful")]
others = [result.reward for result in client.score(samples, profile="helpful_value_head")]
apart = max(abs(a - b) for a, b in zip(rewards, others, strict=True))
print(f"largest difference between the layouts: {apart:.6f}")
print("best:", ANSWERS[rewards.index(max(rewards))])
