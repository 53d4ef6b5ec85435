"""LLM: offline generation in the caller's process, with vLLM's names.

llm = LLM("path/or/hub-id")
for output in llm.generate(["Hello"], SamplingParams(max_tokens=20)):
    print(output.outputs[0].text)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from penstock.config.compat import engine_args
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.input_processor import Prompt
from penstock.engine.sync_engine import SyncEngine
from penstock.entrypoints.llm_pooling import OfflinePooling
from penstock.entrypoints.offline_arguments import (
    Tokenization,
    conversation_list,
    one_each,
    prompt_list,
    refuse_lora,
    tokenization,
)
from penstock.entrypoints.offline_runner import OfflineRunner
from penstock.entrypoints.progress_bar import Progress
from penstock.errors import ClientError
from penstock.observability.prometheus import EngineCollector
from penstock.observability.snapshot import Metric, snapshot
from penstock.observability.stats import StatsRecorder
from penstock.outputs import (
    BeamSearchOutput,
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    PoolingRequestOutput,
    RequestOutput,
    ScoringRequestOutput,
)
from penstock.params import BeamSearchParams, PoolingParams, SamplingParams
from penstock.tokenizers.chat_template import ChatTemplate, Message, read_template_option
from penstock.tokenizers.tokenizer import Tokenizer, chat_template_of


class LLM:
    """A model, loaded.

    Args:
        model: local folder or hub id; None for the bundled model.
        chat_template: file or Jinja source to use instead of the model's own.
        options: any option of the engine (`EngineArgs`), as a keyword; vLLM's other keywords are accepted where their
            value asks for nothing that is missing here.

    Raises:
        TypeError: there is no such keyword.
        StartError: the model cannot be loaded with these options.
    """

    def __init__(self, model: str | None = None, *, chat_template: str | None = None, **options: Any):
        args = engine_args(model=model, **{"disable_log_stats": True, **options})
        config = resolve(args, usage="offline")
        stats = None if args.disable_log_stats else StatsRecorder(config.model.max_model_len)
        self.engine = SyncEngine.from_config(config, stats=stats)
        self._runner = OfflineRunner(self.engine)
        self._chat_template = chat_template_of(self.engine.tokenizer)
        self._score_template: ChatTemplate | None = None
        if chat_template is not None:
            self._chat_template = self._chat_template.replaced(read_template_option(chat_template))
            self._score_template = self._chat_template

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> LLM:
        return cls(**{f.name: getattr(args, f.name) for f in fields(args)})

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: Progress = True,
        lora_request: None = None,
        priority: Sequence[int] | int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """Complete prompts.

        Args:
            prompts: one or many: text, token ids, or {"prompt": text} / {"prompt_token_ids": ids}.
            sampling_params: for all, or one for each prompt; None for the model's defaults.
            use_tqdm: show a progress bar; or something to call instead of tqdm.
            priority: for all, or one for each prompt; lower runs first, with the priority policy.
            tokenization_kwargs: may hold add_special_tokens, and truncate_prompt_tokens: keep so many of a prompt's
                last tokens; -1 keeps what fits.

        Returns:
            One output per prompt, in their order.

        Raises:
            ClientError: a prompt or parameter is not possible; nothing was generated then.
            KeyboardInterrupt: after the step in which it came; the object stays usable.
        """
        refuse_lora(lora_request)
        how = tokenization(tokenization_kwargs, Tokenization())
        return self._runner.run(prompt_list(prompts), self._params(sampling_params), priority, how, use_tqdm)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: Progress = True,
        lora_request: None = None,
        priority: Sequence[int] | int | None = None,
        *,
        chat_template: str | None = None,
        chat_template_content_format: str = "auto",
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """Answer conversations.

        Args:
            messages: one conversation (a list of messages), or several.
            chat_template: Jinja source to use instead of the model's own.
            tools: functions the model may call, as definitions for its template.
            chat_template_kwargs: further variables of the template, as `enable_thinking`.
            others: as for `generate`, and as for `ChatTemplate.render`.

        Returns:
            One output per conversation, in their order.
        """
        refuse_lora(lora_request)
        template = self._chat_template.replaced(chat_template, chat_template_content_format)
        texts = [
            template.render(
                conversation,
                tools,
                add_generation_prompt,
                continue_final_message,
                chat_template_kwargs=chat_template_kwargs,
            )
            for conversation in conversation_list(messages)
        ]
        how = tokenization(tokenization_kwargs, Tokenization(add_special_tokens=False))
        return self._runner.run(texts, self._params(sampling_params), priority, how, use_tqdm)

    def enqueue(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        lora_request: None = None,
        priority: Sequence[int] | int | None = None,
    ) -> list[str]:
        """Take prompts without waiting for them; arguments and errors are those of `generate`.

        Returns:
            Their ids. `wait_for_completion` gives their outputs.
        """
        refuse_lora(lora_request)
        return self._runner.enqueue(prompt_list(prompts), self._params(sampling_params), priority, Tokenization())

    def enqueue_chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        lora_request: None = None,
        priority: Sequence[int] | int | None = None,
        **template_options: Any,
    ) -> list[str]:
        """As `enqueue`, for conversations; `template_options` are those of `ChatTemplate.render`."""
        refuse_lora(lora_request)
        texts = [self._chat_template.render(c, **template_options) for c in conversation_list(messages)]
        how = Tokenization(add_special_tokens=False)
        return self._runner.enqueue(texts, self._params(sampling_params), priority, how)

    def wait_for_completion(self, *, use_tqdm: Progress = True) -> list[RequestOutput]:
        """Run what is enqueued; the outputs, in the order of enqueueing.

        Raises:
            KeyboardInterrupt: after the step in which it came; what was enqueued is dropped.
        """
        return self._runner.run_enqueued(use_tqdm)

    def beam_search(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: BeamSearchParams,
        lora_request: None = None,
        use_tqdm: Progress = False,
        concurrency_limit: int | None = None,
    ) -> list[BeamSearchOutput]:
        """Search for the likeliest completions of prompts, with the rules of transformers' beam search.

        Args:
            params: how many, how long and how they are scored; the same for all prompts.
            concurrency_limit: search for so many prompts at a time; None for all.
            others: as for `generate`.

        Returns:
            Per prompt its `beam_width` best sequences, the best first.

        Raises:
            ClientError: as `generate`; also if so many beams need more log probabilities than `max_logprobs` allows.
        """
        refuse_lora(lora_request)
        if concurrency_limit is not None and concurrency_limit < 1:
            raise ClientError("concurrency_limit must be at least 1.", "concurrency_limit")
        return self._runner.run_beams(prompt_list(prompts), params, concurrency_limit, use_tqdm)

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            ClientError: there is none (skip_tokenizer_init).
        """
        if self.engine.tokenizer is None:
            raise ClientError("there is no tokenizer (skip_tokenizer_init).")
        return self.engine.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """Sampling parameters with the model's own defaults (generation_config.json); a new object."""
        return self.engine.default_sampling_params()

    def reset_prefix_cache(self, reset_running_requests: bool = False) -> bool:
        """Forget cached prefixes; False, and nothing happens, while requests run, unless those may start again."""
        return bool(self.engine.call("reset_prefix_cache", reset_running_requests))

    def sleep(self, level: int = 1, mode: str = "abort") -> None:
        """Let go of memory until `wake_up`; see `AsyncLLM.sleep`. Nothing can be generated meanwhile.

        Raises:
            ClientError: there is no sleep mode without enable_sleep_mode=True, or no such level or mode.
        """
        with self._runner.turn:
            self.engine.sleep(level, mode)

    def wake_up(self, tags: list[str] | None = None) -> bool:
        """Get memory back: "weights", "kv_cache", or all; whether the engine is awake now.

        Raises:
            ClientError: a tag is unknown, or the memory is not to be had; it sleeps on.
        """
        with self._runner.turn:
            return self.engine.wake_up(tags)

    def is_sleeping(self) -> bool:
        return self.engine.is_sleeping()

    def get_metrics(self) -> list[Metric]:
        """What has been counted, as `Counter`, `Gauge` and `Histogram` of `penstock.observability.snapshot`.

        Raises:
            ClientError: nothing is counted, for want of `disable_log_stats=False`.
        """
        if self.engine.stats is None:
            raise ClientError("nothing is counted: make the LLM with disable_log_stats=False.", "disable_log_stats")
        name = self.engine.config.model.served_names[0]
        return snapshot(EngineCollector(self.engine.stats, "penstock", name, {}).collect())

    def collective_rpc(
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Run a method of every worker by its name, or a function whose first argument is the worker.

        Args:
            timeout: without effect: the workers are in this process.

        Returns:
            One answer per worker.

        Raises:
            ClientError: workers have no such method.
        """
        with self._runner.turn:
            return self.engine.on_workers(method, *args, **(kwargs or {}))

    def apply_model(self, func: Callable[[Any], Any]) -> list[Any]:
        """Call a function with the model of every worker; one answer per worker."""
        return self.collective_rpc(lambda worker: func(worker.model))

    def get_world_size(self, include_dp: bool = True) -> int:
        """How many workers there are."""
        return 1

    def shutdown(self) -> None:
        """Free the model's memory; nothing can be generated afterwards."""
        self.engine.shutdown()

    close = shutdown

    def encode(
        self,
        prompts: Prompt | Sequence[Prompt],
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        *,
        use_tqdm: Progress = True,
        lora_request: None = None,
        pooling_task: str | None = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[PoolingRequestOutput]:
        """Pool hidden states; `outputs.data` is a tensor for each prompt.

        Args:
            prompts: as for `generate`.
            pooling_params: for all, or one for each prompt.
            pooling_task: embed, classify, token_embed or token_classify; the model's own if it is not given.
            truncate_prompt_tokens: keep so many of a text's tokens, from its beginning; -1 keeps what fits.
            tokenization_kwargs: may hold add_special_tokens and truncate_prompt_tokens.

        Raises:
            ClientError: a prompt or parameter is not possible, or the model generates; nothing was computed then.
        """
        refuse_lora(lora_request)
        pooler = self._pooler(truncate_prompt_tokens, tokenization_kwargs)
        listed = prompt_list(prompts)
        params = one_each(pooling_params, len(listed), "params")
        return pooler.encode(listed, params, pooling_task, use_tqdm)

    def embed(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        use_tqdm: Progress = True,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        lora_request: None = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[EmbeddingRequestOutput]:
        """A vector for each prompt: `outputs.embedding`. Arguments are those of `encode`."""
        refuse_lora(lora_request)
        pooler = self._pooler(truncate_prompt_tokens, tokenization_kwargs)
        listed = prompt_list(prompts)
        return pooler.embed(listed, one_each(pooling_params, len(listed), "params"), use_tqdm)

    def classify(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        use_tqdm: Progress = True,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        lora_request: None = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[ClassificationRequestOutput]:
        """A score for each label and prompt: `outputs.probs`. Arguments are those of `encode`."""
        refuse_lora(lora_request)
        pooler = self._pooler(truncate_prompt_tokens, tokenization_kwargs)
        listed = prompt_list(prompts)
        return pooler.classify(listed, one_each(pooling_params, len(listed), "params"), use_tqdm)

    def reward(
        self,
        prompts: Prompt | Sequence[Prompt],
        /,
        *,
        use_tqdm: Progress = True,
        pooling_params: PoolingParams | Sequence[PoolingParams] | None = None,
        lora_request: None = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[PoolingRequestOutput]:
        """What a reward model says of each prompt, in `outputs.data`: token by token, or of the whole if it is a
        classifier. Arguments are those of `encode`."""
        return self.encode(
            prompts,
            pooling_params,
            use_tqdm=use_tqdm,
            lora_request=lora_request,
            truncate_prompt_tokens=truncate_prompt_tokens,
            tokenization_kwargs=tokenization_kwargs,
        )

    def score(
        self,
        data_1: Prompt | Sequence[Prompt],
        data_2: Prompt | Sequence[Prompt],
        /,
        *,
        use_tqdm: Progress = True,
        pooling_params: PoolingParams | None = None,
        lora_request: None = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
    ) -> list[ScoringRequestOutput]:
        """How well texts fit together, `outputs.score`: one with one, one with many, or pair by pair.

        Args:
            chat_template: Jinja source that makes one text of a query and a document, for models that need it.
            others: as for `encode`.
        """
        refuse_lora(lora_request)
        pooler = self._pooler(truncate_prompt_tokens, tokenization_kwargs)
        template = self._chat_template.replaced(chat_template) if chat_template else self._score_template
        return pooler.score(prompt_list(data_1), prompt_list(data_2), pooling_params, template, use_tqdm)

    def _params(self, given: SamplingParams | Sequence[SamplingParams] | None) -> Any:
        return self.get_default_sampling_params() if given is None else given

    def _pooler(self, keep: int | None, settings: Mapping[str, Any] | None) -> OfflinePooling:
        """What pools, with these settings of the tokenizer."""
        how = tokenization(settings, Tokenization(truncate=keep))
        return OfflinePooling(
            self.engine,
            self._runner.run_pooling,
            add_special_tokens=how.add_special_tokens,
            truncate=how.truncate,
        )
