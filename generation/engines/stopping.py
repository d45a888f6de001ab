"""Stop strings for the transformers engine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import StoppingCriteria

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StopStrings(StoppingCriteria):
    """Ends a row at the first token after which its answer holds one of the strings."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase | None",
        strings: Sequence[str],
        prompt_length: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._strings = strings
        self._prompt_length = prompt_length
        self._lengths: dict[int, int] = {}
        # A token decodes to a byte at least, so so many hold any string that just ended.
        self._window = max((len(text.encode()) for text in strings), default=0) + 4

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Which rows are done, [batch]."""
        length = input_ids.shape[1] - self._prompt_length
        for row, answer in enumerate(input_ids[:, self._prompt_length :].tolist()):
            if row not in self._lengths and self._found(answer):
                self._lengths[row] = length
        done = [row in self._lengths for row in range(len(input_ids))]
        return torch.tensor(done, device=input_ids.device)

    def length(self, row: int) -> int | None:
        """Tokens of a row's answer up to its stop string, None where there was none."""
        return self._lengths.get(row)

    def _found(self, answer: list[int]) -> bool:
        assert self._tokenizer is not None
        text = self._tokenizer.decode(answer[-self._window :], skip_special_tokens=True)
        return any(string in text for string in self._strings)
