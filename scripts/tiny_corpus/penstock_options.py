"""The options of `penstock serve`: what each does and its default, asked for in many ways."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .phrasing import ask, pick
from .relations import Row, table
from .sample import Sample, say

# option | default ("" = none) | what it does, completing "it ..." | the wish it fulfils, completing "I want to ..."
OPTIONS: list[Row] = table("flag default does wish", """
--max-num-seqs | | sets how many requests may run at the same time in one step. More requests wait in the queue | limit how many requests run at the same time
--max-model-len | | caps the context length, prompt and answer together, in tokens. It accepts forms like 4k | limit the context length
--max-num-batched-tokens | | sets how many tokens one step may process over all requests | limit the tokens per step
--port | 8000 | sets the TCP port on which the server listens | use another port
--host | | sets the address on which the server listens. Without it, the server listens on all interfaces | listen only on this machine
--api-key | | sets one or more keys. Requests without a valid key get the error 401 | protect the server with a key
--model | | names the model to load: a hub id or a local folder. Without it, the bundled model is used | choose the model
--served-model-name | | sets the name or names under which clients ask for the model | give the model another name
--tokenizer | | names another source for the tokenizer than the model itself | use another tokenizer
--dtype | auto | sets the number type of weights and activations, such as bfloat16 or float32 | choose the number type of the weights
--seed | 0 | sets the seed of the random numbers | fix the random seed
--quantization | | names the quantization method of the weights. Without it, the method is read from the checkpoint | use quantized weights
--tensor-parallel-size | 1 | splits each layer over several devices | use several GPUs for one model
--pipeline-parallel-size | 1 | splits the layers of the model into stages on several devices | split the layers over devices
--data-parallel-size | 1 | starts several engine cores behind one server | run several copies of the engine
--gpu-memory-utilization | 0.9 | sets the share of the device memory that weights, activations and the KV cache may use | change how much GPU memory is used
--enable-prefix-caching | on | reuses the KV blocks of prompt beginnings that were seen before | reuse work for equal prompt beginnings
--no-enable-prefix-caching | | turns the reuse of cached prompt beginnings off | turn prefix caching off
--enable-chunked-prefill | on | splits long prompts over several steps so that other requests go on | split long prompts into pieces
--kv-cache-dtype | auto | sets the number type of the KV cache, for example fp8 | store the KV cache in fp8
--block-size | | sets how many tokens one KV block holds | change the size of a KV block
--kv-cache-memory-bytes | | sets the size of the KV cache in bytes exactly | set the KV cache size exactly
--cpu-offload-gb | 0 | keeps that many GiB of the weights in host memory | keep part of the weights in host memory
--swap-space | 4 | sets the host memory in GiB for swapped KV blocks | set the swap space
--enable-lora | off | lets the server use several LoRA adapters in one batch | serve LoRA adapters
--lora-modules | | names the LoRA adapters to load at start, as name=path | load LoRA adapters at start
--max-loras | 1 | sets how many different LoRA adapters one batch may hold | allow more adapters in one batch
--max-lora-rank | 16 | sets the largest rank of a LoRA adapter | allow adapters of a larger rank
--enable-auto-tool-choice | off | lets the model decide by itself whether to call a tool. It needs --tool-call-parser | let the model call tools by itself
--tool-call-parser | | names the parser that turns the text of the model into tool calls, for example hermes | choose the tool parser
--reasoning-parser | | names the parser that separates the reasoning of the model from its answer | separate reasoning from the answer
--chat-template | | gives the chat template: a file or the template itself | use my own chat template
--chat-template-content-format | auto | says whether message content is given to the template as a string or as a list of parts | choose the content format for the template
--response-role | assistant | sets the role name of the messages that the server writes | change the role name in answers
--generation-config | auto | says where default sampling values come from: the model's file, a folder, or nowhere | choose where sampling defaults come from
--override-generation-config | | changes single default sampling values, given as JSON | change the default temperature of the server
--max-logprobs | 20 | sets the largest number of logprobs that a request may ask for | allow more logprobs
--logprobs-mode | raw_logprobs | says whether logprobs are taken before or after the sampling settings | choose what logprobs mean
--scheduling-policy | fcfs | chooses the order of requests: fcfs means first come, first served; priority means by priority | serve important requests first
--speculative-config | | turns on speculative decoding, given as JSON with a method and a number of tokens | use speculative decoding
--load-format | auto | says in which form the weights are read, for example safetensors or dummy | choose how weights are read
--download-dir | | sets the folder for downloaded models | choose where models are downloaded
--revision | | names the version of the model to take from the hub | pin a version of the model
--trust-remote-code | off | allows Python code from the model repository to run | allow code from the model repository
--hf-overrides | | changes values of the model's config.json, given as JSON | change the model config
--enforce-eager | off | turns graph capture and compilation off | turn compilation off
--compilation-config | | sets how the model is compiled, as a level from 0 to 3 or as JSON | choose the compilation level
--device | auto | chooses the device: cpu or cuda | run on the CPU
--distributed-executor-backend | | chooses how workers are started: uni, mp, ray or external_launcher | choose how workers are started
--disable-log-stats | off | stops the periodic line with statistics | turn the statistics line off
--enable-log-requests | off | writes a log line for each request | log every request
--max-log-len | | cuts logged prompts to that many characters | shorten prompts in the log
--uvicorn-log-level | info | sets the log level of the HTTP server | change the log level of the HTTP server
--ssl-keyfile | | names the file with the private key for TLS | use TLS
--ssl-certfile | | names the file with the certificate for TLS | give the TLS certificate
--root-path | | sets the path prefix when the server stands behind a reverse proxy | run behind a reverse proxy
--allowed-origins | | lists the web origins that may call the server from a browser | allow calls from a web page
--config | | names a YAML file from which options are read. Options on the command line win over the file | read options from a file
--uds | | makes the server listen on a UNIX socket | listen on a UNIX socket
--api-server-count | | sets how many front-end processes share the socket | use several front-end processes
--shutdown-timeout | 30 | sets how many seconds the server waits for running requests when it is stopped | let running requests finish at shutdown
--request-timeout | | sets how many seconds one request may take | stop requests that take too long
--max-queue-time | | sets how many seconds a request may wait in the queue before it is refused | refuse requests that wait too long
--max-num-queued-reqs | | sets how many requests may wait in the queue. More get the error 429 | bound the queue
--sse-keep-alive-interval | 15 | sets how often a comment is sent on an idle stream, in seconds | keep idle streams open
--metrics-prefix | penstock | sets the prefix of the metric names | use other metric names
--protect-metrics | off | asks for the API key at /metrics too | protect the metrics with the key
--enable-request-id-headers | off | sends the request id back in a header | see request ids in the answer
--disable-fastapi-docs | off | turns the pages /docs and /redoc off | hide the API pages
--limit-mm-per-prompt | | limits how many images, videos or sounds one prompt may have | limit images per prompt
--allowed-local-media-path | | names the folder from which local media files may be read | allow local image files
--runner | auto | chooses between generation and pooling models | serve an embedding model
--task | auto | chooses the task of the model. Today --runner is used for it | choose the task
--skip-tokenizer-init | off | serves token ids only and loads no tokenizer | serve token ids only
--stream-interval | 1 | sets how many tokens one stream chunk holds | get fewer and larger stream chunks
--async-scheduling | | plans the next step while the current one runs | overlap scheduling and execution
--long-prefill-token-threshold | 0 | limits how many tokens one long prompt may take per step | limit long prompts per step
--enable-sleep-mode | off | allows the engine to sleep and give its memory back | let the engine sleep
--middleware | | adds an ASGI middleware by its import path | add a middleware
--structured-outputs-config | | sets how structured outputs are made, given as JSON | configure structured outputs
--otlp-traces-endpoint | | sends one trace span per request to this address | send traces
--disable-frontend-multiprocessing | off | runs the engine inside the server process | run everything in one process
--enable-server-load-tracking | off | counts the requests in flight for the route /load | see the server load
--enable-prompt-tokens-details | off | reports cached tokens in the usage part of answers | see cached tokens in the usage
--num-gpu-blocks-override | | sets the number of KV blocks by hand | set the number of KV blocks
""")

_WHAT = ["What does {f} do?", "What does the option {f} do?", "What is {f}?", "Explain {f}.", "What is the option {f} for?",
         "Explain the option {f}.", "What is {f} for?", "What does {f} mean?", "Tell me about {f}.", "How does {f} work?",
         "I do not understand {f}.", "What happens if I set {f}?", "Describe the flag {f}.", "What is the flag {f} good for?",
         "When do I need {f}?", "Can you explain {f}?", "What is the meaning of {f}?", "{f}?", "What does {f} change?",
         "Why would I use {f}?", "What's {f}?", "what is {f} used for?", "In penstock serve, what does {f} do?",
         "What does penstock serve {f} do?"]
_DEFAULT = ["What is the default of {f}?", "What is the default value of {f}?", "Which value does {f} have by default?",
            "Default of {f}?", "What's the default for {f}?", "What value has {f} if I do not set it?"]
_WHICH = ["Which option do I need to {w}?", "How can I {w}?", "How do I {w}?", "I want to {w}.", "What is the option to {w}?",
          "Which flag lets me {w}?", "Is there an option to {w}?", "I would like to {w}. Which option is it?",
          "How can I {w} in Penstock?", "Can I {w}?", "How do I {w} with penstock serve?", "Is it possible to {w}?"]


def name_of(rng: Random, flag: str) -> str:
    """The flag as people write it: mostly exact, now and then without dashes or with underscores."""
    roll = rng.random()
    if roll < 0.8:
        return flag
    if roll < 0.87:
        return flag[2:]
    if roll < 0.94:
        return flag[2:].replace("-", "_")
    return f"`{flag}`"


def option(rng: Random) -> Sample:
    row = OPTIONS[rng.randrange(22)] if rng.random() < 0.35 else rng.choice(OPTIONS)
    flag, default = row["flag"], row["default"]
    known = f" The default is {default}." if default else ""
    roll = rng.random()
    if roll < 0.55:
        return say(ask(rng, pick(rng, _WHAT, f=name_of(rng, flag))), f"The option {flag} {row['does']}.{known}")
    if roll < 0.67 and default:
        return say(ask(rng, pick(rng, _DEFAULT, f=name_of(rng, flag))), f"The default of {flag} is {default}.")
    if roll < 0.93:
        return say(ask(rng, pick(rng, _WHICH, w=row["wish"])), f"Use the option {flag}. It {row['does']}.")
    return Sample(text=f"The option {flag} {row['does']}.{known}")


VALUES = [
    ("--port", "9000", "listen on port 9000"), ("--port", "8080", "listen on port 8080"), ("--port", "5000", "use port 5000"),
    ("--host", "127.0.0.1", "listen only on this machine"), ("--api-key", "secret", "ask for the key secret"),
    ("--max-model-len", "4096", "limit the context to 4096 tokens"), ("--max-model-len", "2048", "cap the context at 2048 tokens"),
    ("--max-num-seqs", "16", "run at most 16 requests at once"), ("--max-num-seqs", "64", "run at most 64 requests at once"),
    ("--tensor-parallel-size", "2", "use two GPUs"), ("--tensor-parallel-size", "4", "use four GPUs"),
    ("--dtype", "float32", "use float32 weights"), ("--dtype", "bfloat16", "use bfloat16 weights"),
    ("--seed", "42", "use the seed 42"), ("--device", "cpu", "run on the CPU"),
    ("--served-model-name", "my-model", "call the model my-model"), ("--kv-cache-dtype", "fp8", "store the KV cache in fp8"),
    ("--gpu-memory-utilization", "0.8", "use 80 percent of the GPU memory"), ("--config", "options.yaml", "read the options from options.yaml"),
    ("--tool-call-parser", "hermes", "use the hermes tool parser"), ("--scheduling-policy", "priority", "schedule by priority"),
]
_COMMAND = ["Which command starts a server to {w}?", "Write the command to {w}.", "Give me the command line to {w}.",
            "How do I start the server to {w}?", "Show me the command to {w}.", "How do I start penstock to {w}?",
            "What do I type to {w}?", "Start the server and {w}: which command?"]


def command_line(rng: Random) -> Sample:
    flag, value, wish = rng.choice(VALUES)
    if value.isdigit() and flag in ("--port", "--seed", "--max-num-seqs", "--max-model-len") and rng.random() < 0.6:
        fresh = str(rng.choice([rng.randrange(1, 10) * 1000, rng.randrange(1000, 9999), rng.randrange(2, 300)]))
        wish, value = wish.replace(value, fresh), fresh
    return say(ask(rng, pick(rng, _COMMAND, w=wish)), f"penstock serve {flag} {value}")


SOURCES = [(option, 7.0), (command_line, 1.5)]
