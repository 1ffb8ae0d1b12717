"""The peers of the batching benchmark; each serves `{"text": "…"}` -> `{"score": 1.2}` over HTTP.

Run by the Python of an environment that has them: `python _batching_peers.py KIND MODEL_FOLDER
DTYPE PORT`. KIND is litserve, ray, fastapi or serve_rm; MODEL_FOLDER "noop" means no model. All use
one torch thread and the same weights, and pad to the longest text of a batch, as their
documentation recommends.
"""

import os
import sys
from pathlib import Path
from typing import Any

try:
    import litserve  # pyright: ignore[reportMissingImports]
except ImportError:
    litserve = None

BATCH, WAIT_S = 32, 0.005


def make_predict(folder: str, dtype: str) -> Any:
    """Return a function from texts to scores."""
    if folder == "noop":
        return lambda texts: [float(len(text)) for text in texts]
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    backbone = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    head = load_file(Path(folder) / "value_head.safetensors")
    weight, bias = head["v_head.summary.weight"][0], head["v_head.summary.bias"][0]

    def predict(texts: list[str]) -> list[float]:
        with torch.inference_mode():
            batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
            mask = batch["attention_mask"]
            hidden = backbone(batch["input_ids"], attention_mask=mask).last_hidden_state
            last = hidden[torch.arange(len(texts)), mask.sum(1) - 1].float()
            return (last @ weight + bias).tolist()

    return predict


def serve_litserve(folder: str, dtype: str, port: int) -> None:
    assert litserve is not None
    api = LitScores(max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


# At module level: it is pickled into its worker process.
class LitScores(litserve.LitAPI if litserve else object):  # pyright: ignore[reportGeneralTypeIssues]
    def setup(self, device: str) -> None:
        self.predict_scores = make_predict(*sys.argv[2:4])

    def decode_request(self, request):  # litserve reads annotations; without one it passes the body
        return request["text"]

    def predict(self, texts):
        return self.predict_scores(texts)

    def encode_response(self, output):
        return {"score": output}


def serve_ray(folder: str, dtype: str, port: int) -> None:
    import time

    import ray
    from fastapi import FastAPI
    from ray import serve

    ray.init(include_dashboard=False, num_cpus=4, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    app = FastAPI()

    @serve.deployment(max_ongoing_requests=1000)
    @serve.ingress(app)
    class Scores:
        def __init__(self) -> None:
            self.predict = make_predict(folder, dtype)

        @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
        async def batched(self, texts: list[str]) -> list[float]:
            return self.predict(texts)

        @app.post("/predict")
        async def score(self, body: dict[str, Any]) -> dict[str, float]:
            score: Any = await self.batched(body["text"])
            return {"score": score}

    serve.run(Scores.bind())  # type: ignore[attr-defined]
    while True:
        time.sleep(3600)


def serve_fastapi(folder: str, dtype: str, port: int, *, blocking: bool) -> None:
    """Run one forward pass per request: in a thread pool or, like OpenRLHF's serve_rm, in the event
    loop."""
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from pydantic import BaseModel

    app = FastAPI()
    predict = make_predict(folder, dtype)

    class Body(BaseModel):
        text: str

    if blocking:

        @app.post("/predict")
        async def get_reward(request: Request) -> JSONResponse:
            data = await request.json()
            return JSONResponse({"score": predict([data["text"]])[0]})
    else:

        @app.post("/predict")
        def score(body: Body) -> dict[str, float]:
            return {"score": predict([body.text])[0]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def main() -> None:
    kind, folder, dtype, port = sys.argv[1:5]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if kind == "litserve":
        serve_litserve(folder, dtype, int(port))
    elif kind == "ray":
        serve_ray(folder, dtype, int(port))
    else:
        serve_fastapi(folder, dtype, int(port), blocking=kind == "serve_rm")


if __name__ == "__main__":
    main()
