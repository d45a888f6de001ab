"""Plain transformers as an engine, where vLLM cannot be installed."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from contracts.models.loading import load_adapter, load_model
from contracts.models.model import load_settings, load_tokenizer
from generation.config import SampleConfig
from generation.engine_kinds.transformers import TransformersEngine
from generation.engines import Job
from generation.engines.requests import Request, Sample
from generation.engines.stopping import StopStrings
from runtime.pool.messages import heartbeat


class Transformers:
    """A model in transformers, one fixed batch a step.

    A batch is left-padded, so a sample's last bits depend on its batch; batches are the same
    in a resumed run, and so are the samples.
    """

    def __init__(self, job: Job, engine: TransformersEngine) -> None:
        """
        Raises:
            UserError: the model cannot be loaded.
        """
        self.batch = engine.batch_size
        self.capacity = engine.batch_size
        self._config = job.config
        self._stop_ids = job.stop_ids
        self._tokenizer = load_tokenizer(job.policy) if job.config.stop else None
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _load(job.policy, job.config.dtype, self._device)
        if job.adapter:
            # Merged, it is a model like any other, and as fast.
            adapted = load_adapter(self._model, job.adapter, job.policy)
            self._model = adapted.merge_and_unload().eval()
        # `generate` fills what a config leaves open from the model's own folder.
        self._model.generation_config = GenerationConfig()
        self._waiting: deque[Sequence[Request]] = deque()

    def add(self, requests: Sequence[Request]) -> None:
        """Queue a batch."""
        self._waiting.append(requests)

    @torch.inference_mode()
    def step(self) -> list[Sample]:
        """Sample the oldest batch to its end."""
        requests = self._waiting.popleft()
        ids, mask = _left_pad([request.prompt for request in requests], self._device)
        configs = [self._config.model_copy(update=dict(one.decoding)) for one in requests]
        choose = Choose(configs, [request.seed for request in requests], self._device)
        stops = StopStrings(self._tokenizer, self._config.stop, ids.shape[1])
        settings = GenerationConfig(
            max_new_tokens=max(config.max_tokens for config in configs),
            # The highest of what `Choose` returns: `generate` itself would draw the whole batch by
            # one generator, and a sample would depend on its neighbours.
            do_sample=False,
            eos_token_id=self._stop_ids,
            pad_token_id=self._stop_ids[0],
        )
        sequences = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([choose]),
            stopping_criteria=StoppingCriteriaList([stops] if self._config.stop else []),
        )
        answers = sequences[:, ids.shape[1] :].tolist()
        return [
            self._sample(
                request,
                answers[row][: configs[row].max_tokens],
                stops.length(row),
                choose.logprobs(row),
            )
            for row, request in enumerate(requests)
        ]

    def close(self) -> None:
        """Nothing outlives this process."""

    def _sample(
        self, request: Request, answer: list[int], stopped: int | None, logprobs: list[float]
    ) -> Sample:
        ends = [place + 1 for place, token in enumerate(answer) if token in self._stop_ids][:1]
        # It may have gone on, to its batch's longest answer, where its own limit had cut it.
        ends += [stopped] if stopped and stopped <= len(answer) else []
        length = min([*ends, len(answer)])
        reason = "stop" if ends else "length"
        logprob = sum(logprobs[:length]) if self._config.logprobs else None
        return Sample(request.response_id, answer[:length], reason, logprob)


class Choose(LogitsProcessor):
    """Makes greedy decoding draw from the filtered distribution, each row by its own seed.

    Gumbel noise on the logits turns their argmax into a draw; temperature, min-p, top-k and
    top-p are applied before, in vLLM's order, to each row by its own config.
    """

    def __init__(
        self, configs: Sequence[SampleConfig], seeds: Sequence[int], device: torch.device
    ) -> None:
        self._generators = {
            row: torch.Generator(device).manual_seed(seed)
            for row, (config, seed) in enumerate(zip(configs, seeds, strict=True))
            if config.temperature
        }
        self._keep_logprobs = configs[0].logprobs
        self._logprobs: list[torch.Tensor] = []
        rows: dict[tuple[float, float], list[int]] = {}
        for row in self._generators:
            rows.setdefault((configs[row].temperature, configs[row].top_p), []).append(row)
        self._filters = [(_filters(configs[group[0]]), group) for group in rows.values()]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` [batch, vocabulary] with the drawn token's as the highest."""
        heartbeat()
        noisy = scores.clone()
        for filters, rows in self._filters:
            noisy[rows] = filters(input_ids[rows], scores[rows])
        # Minus the log of an exponential draw is a Gumbel draw.
        noise = torch.empty_like(noisy[0])
        for row, generator in self._generators.items():
            noisy[row] -= noise.exponential_(generator=generator).log()
        if self._keep_logprobs:
            chosen = noisy.argmax(-1, keepdim=True)
            self._logprobs.append(scores.log_softmax(-1).gather(-1, chosen)[:, 0])
        return noisy

    def logprobs(self, row: int) -> list[float]:
        """Log-probs of the tokens drawn for a row, before temperature and filters."""
        return [float(step[row]) for step in self._logprobs]


def _filters(config: SampleConfig) -> LogitsProcessorList:
    filters: list[LogitsProcessor] = [TemperatureLogitsWarper(config.temperature)]
    if config.min_p > 0:
        filters.append(MinPLogitsWarper(config.min_p))
    if config.top_k > 0:
        filters.append(TopKLogitsWarper(config.top_k))
    if config.top_p < 1:
        filters.append(TopPLogitsWarper(config.top_p))
    return LogitsProcessorList(filters)


def _load(policy: str, dtype: str, device: torch.device) -> Any:
    if dtype == "auto" and device.type == "cpu":
        dtype = "float32"
    config = load_settings(policy, "cannot be loaded")
    # Only eager attention is known to apply Gemma-2's soft-cap on every device.
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    model = load_model(
        AutoModelForCausalLM,
        policy,
        "a language model",
        config=config,
        dtype=dtype,
        trust_remote_code=False,
        attn_implementation="eager" if capped else None,
    )
    return model.to(device).eval()


def _left_pad(
    prompts: Sequence[list[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [batch, longest]; what pads is masked, so its id does not matter."""
    longest = max(map(len, prompts))
    ids = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
