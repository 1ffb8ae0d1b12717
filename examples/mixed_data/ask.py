from touchstone_rewards.clients import RemoteRewardClient

ROWS = [
    ("sums", "6 + 40 is #### 46", "46"),
    ("sums", "6 + 40 is #### 45", "46"),
    ("choice", "The answer is (B).", "B"),
    ("form", "Rain falls on the roof", None),
    ("form", "Rain falls on the roof all night and I lie awake", None),
    ("poems", "Roses are red", None),
]
samples = [
    {"id": str(n), "response": response, "ground_truth": truth, "metadata": {"data_source": source}}
    for n, (source, response, truth) in enumerate(ROWS)
]
results = RemoteRewardClient("http://127.0.0.1:8700").score(samples, profile="mixed")
for (source, _, _), result in zip(ROWS, results, strict=True):
    code = result.error.code if result.error else ""
    print(f"{source:7} {result.routed_to or '':12} {result.reward}  {code}".rstrip())
