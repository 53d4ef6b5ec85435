"""llama.cpp through the C API that llama-cpp-python exposes.

The package's own class and server run one sequence at a time, so this drives llama_decode under the simplest scheduler
there is: what is measured is the library's batched compute. A shared prefix is computed once and its cells are shared.
Keys and values are kept in f16.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import llama_cpp as lib
import numpy as np

import workloads

BATCH = 2048
ROOM = 40  # tokens that a sequence may still grow after its prefill
Row = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted


class LlamaCpp:
    prefix_cache = False

    def __init__(self, model: str, threads: int):
        self._threads = threads
        lib.llama_backend_init()
        self._quiet = lib.llama_log_callback(lambda *args: None)
        lib.llama_log_set(self._quiet, ctypes.c_void_p(0))
        self._model = lib.llama_model_load_from_file(model.encode(), lib.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"{model} did not load")
        self._vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._context: Any = None
        self._batch: Any = None
        self._shape: tuple[int, int, bool] | None = None
        self._live: tuple[list[int], list[int], int] | None = None  # first tokens, newest tokens, position

    def version(self) -> str:
        return f"llama-cpp-python {lib.__version__}"

    def generate(self, prompts: workloads.Prompts, max_tokens: int) -> list[int]:
        tokens, position = self._start(prompts, max_tokens), len(prompts[0])
        self._live = ([p[0] for p in prompts], tokens, position) if max_tokens == 1 else None
        for i in range(max_tokens - 1):
            tokens = self._step(tokens, position + i)
        return [max_tokens] * len(tokens)

    def decode_seconds(self, prompts: workloads.Prompts, steps: int) -> float:
        """Goes on from the last prefill if it was of these sequences, and takes its steps back in the end."""
        first = [p[0] for p in prompts]
        if self._live is None or self._live[0] != first:
            self._live = (first, self._start(prompts, steps), len(prompts[0]))
        _, tokens, position = self._live
        start = time.perf_counter()
        for i in range(steps):
            tokens = self._step(tokens, position + i)
        seconds = time.perf_counter() - start
        for sequence in range(len(tokens)):
            lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), sequence, position, -1)
        return seconds

    def close(self) -> None:
        pass

    def _open(self, sequences: int, room: int, shared: bool) -> None:
        """A context of that shape, empty."""
        shape = (sequences, room, shared)
        if self._shape == shape:
            lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
            return
        if self._context:
            lib.llama_batch_free(self._batch)
            lib.llama_free(self._context)
        params = lib.llama_context_default_params()
        params.n_ctx = sequences * room
        params.n_batch = BATCH
        params.n_threads = params.n_threads_batch = self._threads
        params.n_seq_max = sequences
        params.kv_unified = shared
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("llama.cpp made no context")
        self._batch = lib.llama_batch_init(BATCH, 0, 1)
        self._shape = shape

    def _start(self, prompts: workloads.Prompts, max_tokens: int) -> list[int]:
        """Prefill every prompt; each sequence's first token."""
        count, length, shared = len(prompts), len(prompts[0]), 0
        while count > 1 and shared < length - 1 and len({p[shared] for p in prompts}) == 1:
            shared += 1
        self._open(count, -(-(length + max_tokens + ROOM) // 256) * 256, shared > 0)
        if shared:
            self._feed([(t, i, 0, False) for i, t in enumerate(prompts[0][:shared])])
            for sequence in range(1, count):
                lib.llama_memory_seq_cp(lib.llama_get_memory(self._context), 0, sequence, -1, -1)
        return self._feed(
            [
                (token, position, sequence, position == length - 1)
                for sequence, prompt in enumerate(prompts)
                for position, token in enumerate(prompt[shared:], shared)
            ]
        )

    def _step(self, tokens: list[int], position: int) -> list[int]:
        return self._decode([(t, position, s, True) for s, t in enumerate(tokens)])

    def _feed(self, rows: list[Row]) -> list[int]:
        return [t for i in range(0, len(rows), BATCH) for t in self._decode(rows[i : i + BATCH])]

    def _decode(self, rows: list[Row]) -> list[int]:
        """The most likely next token of each row that wants one."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = wanted
        if error := lib.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {error}")
        count = sum(row[3] for row in rows)
        if not count:
            lib.llama_synchronize(self._context)
            return []
        logits = np.ctypeslib.as_array(lib.llama_get_logits(self._context), (count, self._vocab_size))
        best: list[int] = logits.argmax(axis=1).tolist()
        return best


if __name__ == "__main__":
    args = workloads.arguments().parse_args()
    workloads.serve(lambda: LlamaCpp(str(args.model), args.threads), args.first_token)
