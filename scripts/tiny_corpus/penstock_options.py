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
--max-num-seqs | | sets how many requests may run at the same time. More requests wait in the queue | limit how many requests run at the same time
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
--gpu-memory-utilization | 0.9 | sets the share of a GPU's memory that weights, activations and the KV cache may use | change how much GPU memory is used
--enable-prefix-caching | on | reuses the KV blocks of prompt beginnings that were seen before | reuse work for equal prompt beginnings
--no-enable-prefix-caching | | turns the reuse of cached prompt beginnings off | turn prefix caching off
--enable-chunked-prefill | on | splits long prompts over several steps so that other requests go on | split long prompts into pieces
--kv-cache-dtype | auto | sets the type in which the KV cache is stored, for example bfloat16, int8 or fp8 | store the KV cache in another type
--block-size | | sets how many tokens one block of the KV cache holds. On CPU it is 128 by default | change the size of a KV block
--kv-cache-memory-bytes | | sets the size of the KV cache in bytes exactly | set the KV cache size exactly
--chat-template | | gives the chat template: a file or the template itself | use my own chat template
--chat-template-content-format | auto | says whether message content is given to the template as a string or as a list of parts | choose the content format for the template
--response-role | assistant | sets the role name of the messages that the server writes | change the role name in answers
--generation-config | auto | says where default sampling values come from: the model's file, a folder, or nowhere | choose where sampling defaults come from
--override-generation-config | | changes single default sampling values, given as JSON | change the default temperature of the server
--max-logprobs | 20 | sets the largest number of logprobs that a request may ask for | allow more logprobs
--scheduling-policy | fcfs | chooses the order of requests: fcfs means first come, first served; priority means by priority | serve important requests first
--load-format | auto | says where the weights come from: safetensors, PyTorch files, or small random values with dummy | choose how weights are read
--download-dir | | sets the folder for downloaded models | choose where models are downloaded
--revision | | names the version of the model to take from the hub | pin a version of the model
--trust-remote-code | off | has no effect: no code of a model's repository is ever run | allow code from the model repository
--hf-overrides | | changes values of the model's config.json, given as JSON | change the model config
--enforce-eager | off | records no graphs of steps and compiles nothing. A CPU does neither anyway | turn graphs and compilation off
--device | auto | chooses what to run on: cpu, or cuda for an NVIDIA GPU. With auto a GPU is used where there is one | choose the device
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
--shutdown-timeout | 30 | sets how many seconds the server waits for running requests when it is stopped | let running requests finish at shutdown
--request-timeout | | sets how many seconds one request may take | stop requests that take too long
--max-queue-time | | sets how many seconds a request may wait for its first step. Then it gets the error 408 | refuse requests that wait too long
--max-num-queued-reqs | 16384 | sets how many requests may be unfinished at once. More get the error 429 | bound the queue
--sse-keep-alive-interval | 15 | sets how often a comment is sent on an idle stream, in seconds | keep idle streams open
--metrics-prefix | penstock | sets the prefix of the metric names | use other metric names
--protect-metrics | off | asks for the API key at /metrics too | protect the metrics with the key
--enable-request-id-headers | off | sends the request id back in a header | see request ids in the answer
--disable-fastapi-docs | off | turns the pages /docs and /redoc off | hide the API pages
--skip-tokenizer-init | off | serves token ids only and loads no tokenizer | serve token ids only
--long-prefill-token-threshold | 0 | limits how many tokens one long prompt may take per step | limit long prompts per step
--middleware | | adds an ASGI middleware by its import path | add a middleware
--enable-server-load-tracking | off | counts the requests in flight for the route /load | see the server load
--enable-prompt-tokens-details | off | reports cached tokens in the usage part of answers | see cached tokens in the usage
--num-gpu-blocks-override | | sets the number of KV blocks by hand | set the number of KV blocks
--cpu-threads | 0 | sets how many threads compute on the CPU. With 0 there is one for each physical core | set the number of CPU threads
--log-level | info | sets the lowest level that is logged | change the log level
--disable-uvicorn-access-log | off | writes no log line per HTTP request | turn the access log off
--default-chat-template-kwargs | | gives default values for the chat template as JSON, such as enable_thinking | turn thinking on for all requests
--trust-request-chat-template | off | allows a request to bring its own chat template | allow chat templates in requests
--return-tokens-as-token-ids | off | writes tokens in logprobs as token_id:N | see token ids in logprobs
--enable-force-include-usage | off | sends the usage with every stream | get the usage in every stream
--hf-token | | gives the access token for the Hugging Face hub | load a private model from the hub
--tokenizer-revision | | names the version of the tokenizer on the hub | pin a version of the tokenizer
--prefix-caching-hash-algo | builtin | chooses the hash of the blocks of the prefix cache | choose the hash of the prefix cache
--max-num-queued-tokens | | sets how many prompt tokens may wait in the queue. More get the error 429 | limit the waiting prompt tokens
--ssl-ca-certs | | names the file of authorities that may sign client certificates | check client certificates
--enable-ssl-refresh | off | reads the TLS files again when they change | renew certificates without a restart
--disable-sliding-window | off | uses full attention in layers that have a window | turn sliding windows off
--allowed-methods | * | lists the HTTP methods that a web page may use | limit the methods for web pages
--log-config-file | | names a JSON file that configures the log | configure the log
--quantization | | keeps the weights in fewer bits: int8, int4 or fp8. They are made while the model loads | use quantized weights
--cpu-offload-gb | 0 | keeps so many GiB of weights in host memory and brings them to the GPU layer by layer | keep part of the weights in host memory
--enable-sleep-mode | off | lets the engine give its memory back for a while, by the route /sleep or LLM.sleep | let the engine sleep
--compilation-config | | says which steps are recorded and what is compiled on a GPU: a level from 0 to 3, or JSON | choose the compilation level
--max-seq-len-to-capture | | sets the longest context for which decode steps are recorded on a GPU | limit the context of recorded steps
--attention-backend | auto | chooses what computes attention, for example packed on a CPU or triton on a GPU | choose the attention backend
--batch-invariant | off | asks a GPU, too, for the same bits at any load. On a CPU it is always so | get equal answers at any load on a GPU
--async-scheduling | | plans a step while the one before is computed, so that a GPU need not wait. On a CPU it has no effect | overlap scheduling and execution
--enable-auto-tool-choice | off | refuses to start if no parser for tool calls is found. Models choose tools without it too | let the model call tools by itself
--tool-call-parser | auto | says which form of tool calls is read in answers. With auto it is found by the chat template | choose the tool parser
--tool-parser-plugin | | names a Python file that registers tool parsers | add a tool parser of my own
--exclude-tools-when-tool-choice-none | off | hides the tools from the template when tool_choice is none | hide tools that must not be called
--reasoning-parser | | says what splits the reasoning from the answer, for example qwen3, or auto | separate reasoning from the answer
--enable-reasoning | off | finds the reasoning parser by the chat template | split off reasoning by the chat template
--reasoning-parser-plugin | | names a Python file that registers reasoning parsers | add a reasoning parser of my own
--guided-decoding-backend | auto | chooses what compiles JSON schemas and grammars: llguidance or xgrammar | choose the grammar engine
--structured-outputs-config | | configures structured outputs, given as JSON | configure structured outputs
--runner | auto | says what the model is for: generate, or pooling for embeddings, scores and classes | serve an embedding model
--convert | auto | says what a model is made into for pooling, such as embed or classify | make a classifier of a model
--task | auto | says in one word what the model is for, as older versions have it | choose the task
--pooler-config | | says how hidden states are pooled, given as JSON | change how embeddings are pooled
--stream-interval | 1 | sets how many tokens a stream sends together, after the first | get fewer and larger stream chunks
--disable-frontend-multiprocessing | off | runs the engine on a thread of the server instead of a process of its own | run everything in one process
--hf-config-path | | names a folder or hub id whose config.json replaces the one of the model | use the config of another model
--ignore-patterns | original/**/* | lists file patterns that are not downloaded | leave files out of a download
--use-tqdm-on-load | on | shows a progress bar while weights load | see the progress of loading
--ssl-cert-reqs | 0 | says whether clients need a certificate: 0 no, 1 optional, 2 required | require client certificates
--ssl-ciphers | | lists the allowed TLS ciphers | limit the TLS ciphers
--allow-credentials | off | lets web pages send credentials | allow credentials from web pages
--allowed-headers | * | lists the request headers that a web page may send | limit the headers for web pages
--enable-tokenizer-info-endpoint | off | serves the route /tokenizer_info | show the tokenizer's configuration
--disable-access-log-for-endpoints | | lists paths without a log line per request | keep health checks out of the log
""")

# known from vLLM, refused here: flag | why, as in penstock/config/compat.py | the wish it would fulfil
REFUSED: list[Row] = table("flag why wish", """
--tensor-parallel-size | it runs on one device | use several GPUs for one model
--pipeline-parallel-size | it runs on one device | split the layers over devices
--data-parallel-size | it runs on one device | run several copies of the engine
--distributed-executor-backend | it runs on one device | choose how workers are started
--kv-transfer-config | it runs on one device | send the KV cache to another engine
--swap-space | it preempts by computing again, and knows no host memory for KV | set the swap space
--kv-offloading-size | it preempts by computing again, and knows no host memory for KV | keep the KV cache in host memory
--enable-lora | it serves no LoRA adapters | serve LoRA adapters
--lora-modules | it serves no LoRA adapters | load LoRA adapters at start
--max-loras | it serves no LoRA adapters | allow more adapters in one batch
--max-lora-rank | it serves no LoRA adapters | allow adapters of a larger rank
--enable-prompt-adapter | it has no prompt adapters | use prompt adapters
--logprobs-mode | its log probabilities are the model's own, before any sampling parameter | choose what logprobs mean
--logits-processors | requests cannot name Python code | run my own logits processor
--speculative-config | it does not speculate | use speculative decoding
--num-scheduler-steps | it plans each step by itself and sends the tokens of each | plan several steps at once
--api-server-count | its front and its engine are one process each | use several front-end processes
--limit-mm-per-prompt | its models take text | limit images per prompt
--allowed-local-media-path | its models take text | allow local image files
--enable-prompt-embeds | its models take text | send embeddings as a prompt
--model-impl | it has its own code for every model it knows and one kind of tokenizer | choose the implementation of the model
--tool-server | it calls no tools itself, and knows tools and reasoning as their parsers do | let the server run tools
--otlp-traces-endpoint | it traces and profiles nothing | send traces
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


def explained(rng: Random, index: int) -> Sample:
    """What does this option do?"""
    row = OPTIONS[index]
    known = f" The default is {row['default']}." if row["default"] else ""
    return say(ask(rng, pick(rng, _WHAT, f=name_of(rng, row["flag"]))), f"The option {row['flag']} {row['does']}.{known}")


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
    ("--cpu-threads", "4", "compute with 4 threads"), ("--log-level", "debug", "log everything"),
    ("--dtype", "float32", "use float32 weights"), ("--dtype", "bfloat16", "use bfloat16 weights"),
    ("--seed", "42", "use the seed 42"), ("--device", "cpu", "run on the CPU"),
    ("--served-model-name", "my-model", "call the model my-model"), ("--max-queue-time", "30", "let requests wait at most 30 seconds"),
    ("--gpu-memory-utilization", "0.8", "use 80 percent of the GPU memory"), ("--config", "options.yaml", "read the options from options.yaml"),
    ("--scheduling-policy", "priority", "schedule by priority"),
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


def refused(rng: Random) -> Sample:
    """Options and wishes that this version does not have."""
    row = rng.choice(REFUSED)
    if rng.random() < 0.5:
        return say(ask(rng, pick(rng, _WHAT, f=name_of(rng, row["flag"]))), f"The option {row['flag']} is not built into this version of Penstock: {row['why']}.")
    return say(ask(rng, pick(rng, _WHICH, w=row["wish"])), f"That is not built into this version of Penstock: {row['why']}.")


SOURCES = [(option, 6.0), (refused, 1.6), (command_line, 1.5)]
