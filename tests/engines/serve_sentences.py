"""Serve models by sentence-transformers in the form of text-embeddings-inference until ended.

serve_sentences.py PORT EMBEDDING_FOLDER CLASSIFIER_FOLDER

`/embed` and `/v1/embeddings` have the vectors of the first, `/predict` the scores of the second.

Source: text-embeddings-inference 1.9 `router/src/http/{server,types}.rs`.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sentence_transformers import CrossEncoder, SentenceTransformer

# TEI's default for `--max-client-batch-size`.
MOST_INPUTS = 32


class Refused(Exception):
    """A request that TEI refuses."""


class Embed(BaseModel):
    inputs: list[str] | str
    truncate: bool = False
    normalize: bool = True


class OpenAi(BaseModel):
    input: list[str] | list[list[int]] | str
    model: str | None = None
    encoding_format: str = "float"


class Predict(BaseModel):
    inputs: list[list[str]]
    truncate: bool = False
    raw_scores: bool = False


def app(embedder: SentenceTransformer, classifier: CrossEncoder, name: str) -> FastAPI:
    """Return the server; one request is computed at a time."""
    served, turn = FastAPI(), Lock()

    @served.exception_handler(Refused)
    async def refuse(_: Request, why: Exception) -> JSONResponse:
        return JSONResponse({"error": str(why), "error_type": "Validation"}, status_code=413)

    @served.get("/health")
    def health() -> None: ...

    @served.post("/embed")
    def embed(body: Embed) -> list[list[float]]:
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        check(texts, embedder.tokenizer, embedder.max_seq_length, body.truncate)
        with turn:
            return embedder.encode(texts, normalize_embeddings=body.normalize).tolist()

    @served.post("/v1/embeddings")
    def openai(body: OpenAi) -> dict[str, Any]:
        inputs = [body.input] if isinstance(body.input, str) else body.input
        check(inputs, embedder.tokenizer, embedder.max_seq_length, False)
        with turn:
            vectors = [vector_of(embedder, each) for each in inputs]
        data = [
            {"object": "embedding", "embedding": vector, "index": at}
            for at, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return {"object": "list", "data": data, "model": name, "usage": usage}

    @served.post("/predict")
    def predict(body: Predict) -> list[list[dict[str, Any]]]:
        texts = [text for [text] in body.inputs]
        check(texts, classifier.tokenizer, classifier.max_seq_length, body.truncate)
        with turn:
            found = [score_of(classifier, text, body.raw_scores) for text in texts]
        return [[{"score": score, "label": "LABEL_0"}] for score in found]

    return served


def vector_of(embedder: SentenceTransformer, one: str | list[int]) -> list[float]:
    """Return the vector of a text, or of token ids as they are."""
    if isinstance(one, str):
        return embedder.encode(one, normalize_embeddings=True).tolist()
    ids = torch.tensor([one])
    with torch.inference_mode():
        found = embedder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return torch.nn.functional.normalize(found["sentence_embedding"][0], dim=0).tolist()


def score_of(classifier: CrossEncoder, text: str, raw: bool) -> float:
    """Return the score of a text as it is; `predict` would apply the folder's chat template."""
    with torch.inference_mode():
        found = classifier(dict(classifier.tokenizer(text, return_tensors="pt")))
    score = found["scores"].flatten()[0]
    return float(score if raw else torch.sigmoid(score))


def check(inputs: list[str] | list[list[int]], tokenizer: Any, most: int | None, cut: bool) -> None:
    """Refuse requests that TEI refuses.

    Raises:
        Refused: there are too many inputs, or one is too long and not to be cut.
    """
    if len(inputs) > MOST_INPUTS:
        raise Refused(f"batch size {len(inputs)} > maximum allowed batch size {MOST_INPUTS}")
    for one in inputs:
        count = len(one if isinstance(one, list) else tokenizer(one, verbose=False).input_ids)
        if most is not None and count > most and not cut:
            raise Refused(f"`inputs` must have less than {most} tokens. Given: {count}")


def main(port: int, embedding: str, classifier: str) -> None:
    torch.set_num_threads(1)
    models = SentenceTransformer(embedding, device="cpu"), CrossEncoder(classifier, device="cpu")
    uvicorn.run(app(*models, "minilm"), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
