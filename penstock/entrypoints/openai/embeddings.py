"""POST /v1/embeddings, /pooling and /classify: numbers for every input."""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.pooled import (
    Writer,
    ids_of_inputs,
    need_task,
    params_of,
    pooled,
    pooling_of,
    prompt_tokens,
)
from penstock.entrypoints.openai.pooling_types import (
    ClassifiedData,
    ClassifyAnswer,
    ClassifyRequest,
    Embedding,
    EmbeddingAnswer,
    EmbeddingRequest,
    PooledData,
    PoolingAnswer,
    PoolingRequest,
)

_embedding_decoder = msgspec.json.Decoder(EmbeddingRequest, strict=False)
_pooling_decoder = msgspec.json.Decoder(PoolingRequest, strict=False)
_classify_decoder = msgspec.json.Decoder(ClassifyRequest, strict=False)
_encode = msgspec.json.Encoder().encode


async def embeddings(request: Request, front: Front) -> Response:
    """A vector for every input."""
    service = front.service
    body = await read_body(request, _embedding_decoder)
    model = service.check_model(body.model)
    need_task(pooling_of(service, "the embeddings API"), "embed", "the embeddings API")
    writer = Writer(body)
    params = params_of(body, "embed").clone(dimensions=body.dimensions)
    public_id = "embd-" + service.public_id(request, body)
    outputs = await pooled(request, body, service, await ids_of_inputs(body, service), params, public_id)
    vectors = [writer.write(o.outputs.data) for o in outputs]
    answer = EmbeddingAnswer(
        id=public_id,
        created=int(time.time()),
        model=model,
        data=[Embedding(index=i, embedding=v) for i, v in enumerate(vectors)],
        usage=service.usage(prompt_tokens(outputs)[0], 0, prompt_tokens(outputs)[1]),
    )
    return _json(answer)


async def pooling(request: Request, front: Front) -> Response:
    """What the model pools, by any of its tasks: a vector for every input, or for every token of it."""
    service = front.service
    body = await read_body(request, _pooling_decoder)
    model = service.check_model(body.model)
    pooling_of(service, "pooling")
    writer = Writer(body)
    params = params_of(body, body.task).clone(
        dimensions=body.dimensions, step_tag_id=body.step_tag_id, returned_token_ids=body.returned_token_ids
    )
    public_id = "pooling-" + service.public_id(request, body)
    outputs = await pooled(request, body, service, await ids_of_inputs(body, service), params, public_id)
    answer = PoolingAnswer(
        id=public_id,
        created=int(time.time()),
        model=model,
        data=[PooledData(index=i, data=writer.write(o.outputs.data)) for i, o in enumerate(outputs)],
        usage=service.usage(prompt_tokens(outputs)[0], 0, prompt_tokens(outputs)[1]),
    )
    return _json(answer)


async def classify(request: Request, front: Front) -> Response:
    """A score of every label, and the name of the best one."""
    service = front.service
    body = await read_body(request, _classify_decoder)
    model = service.check_model(body.model)
    config = pooling_of(service, "classification")
    need_task(config, "classify", "classification")
    public_id = "classify-" + service.public_id(request, body)
    ids, params = await ids_of_inputs(body, service), params_of(body, "classify")
    outputs = await pooled(request, body, service, ids, params, public_id)
    data = []
    for i, output in enumerate(outputs):
        scores: list[float] = output.outputs.data.tolist()
        best = config.labels[scores.index(max(scores))]
        data.append(ClassifiedData(index=i, label=best, probs=scores, num_classes=len(scores)))
    answer = ClassifyAnswer(
        id=public_id,
        created=int(time.time()),
        model=model,
        data=data,
        usage=service.usage(prompt_tokens(outputs)[0], 0, prompt_tokens(outputs)[1]),
    )
    return _json(answer)


def _json(answer: msgspec.Struct) -> Response:
    return Response(_encode(answer), media_type="application/json")
