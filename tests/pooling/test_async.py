"""AsyncLLM pools in a process of its own, and refuses what the model is not for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from pooling_models import TEXTS, make

from penstock import AsyncEngineArgs, AsyncLLM, PoolingParams, SamplingParams
from penstock.engine.pooling_request import Ids
from penstock.errors import ClientError


def test_texts_and_ids(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, "BertModel")

    async def run() -> None:
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(tmp_path), cpu_threads=1))
        await engine.start()
        try:
            await engine.wait_ready()
            await checks(engine)
        finally:
            await engine.shutdown()

    async def checks(engine: AsyncLLM) -> None:
        raw = PoolingParams(use_activation=False)
        for prompt in (TEXTS[0], checkpoint.tokenizer.encode(TEXTS[0]).ids):
            (output,) = [o async for o in engine.encode(prompt, raw, "r")]
            want = checkpoint.hidden(TEXTS[0])[0]
            torch.testing.assert_close(torch.tensor(output.outputs.data.tolist()), want, atol=1e-5, rtol=0)
        short = [o async for o in engine.encode(TEXTS[2], None, "r", truncate_prompt_tokens=8)]
        assert len(short[0].prompt_token_ids) == 8
        with pytest.raises(ClientError, match="does not generate"):
            await engine.submit("a", SamplingParams(), "r")
        stream = await engine.submit_pooling(Ids([5, 6]), None, "r")
        assert engine.num_unfinished == 1
        stream.close()
        assert (engine.num_unfinished, engine.num_prefill_tokens) == (0, 0)

    asyncio.run(run())
