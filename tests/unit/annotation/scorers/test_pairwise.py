"""PairRM's architecture on a tiny instance, against a plain restatement of it."""

from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

from annotation.annotators.base import ScoreResources
from annotation.annotators.pairwise import PairwiseConfig
from annotation.scorers.pairrm import PairRM
from annotation.scorers.pairwise import open_pairwise
from annotation.scorers.protocol import Conversation
from contracts.errors import UserError

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "what", "is", "a", "tree", "plant", "with", "leaves",
         "no", "idea", "thing", "of", "wood"]  # fmt: skip
MARKERS = ["<|source|>", "<|candidate1|>", "<|candidate2|>"]
QUESTION = [{"role": "user", "content": "what is a tree"}]
ANSWERS = ["a plant with leaves", "no idea", "a thing of wood", "wood wood wood wood wood wood"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pairrm")
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    tokenizer.add_tokens(MARKERS)
    tokenizer.save_pretrained(path)
    source, first, second = tokenizer.convert_tokens_to_ids(MARKERS)
    config = DebertaV2Config(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, relative_attention=True, position_buckets=16, pos_att_type="p2c|c2p",
        norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False,
        type_vocab_size=0, pad_token_id=0,
    )  # fmt: skip
    config.update({"n_tasks": 1, "drop_out": 0.05, "source_prefix_id": source})
    config.update({"cand1_prefix_id": first, "cand2_prefix_id": second})
    torch.manual_seed(0)
    model = PairRM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:  # a random layer norm would level everything
                weight.normal_(0, 0.3)
    model.save_pretrained(path)
    return path


def open_in(folder: Path, batch_tokens: int = 64, **config: object):
    options = PairwiseConfig.model_validate({"name": "p", "path": str(folder), **config})
    resources = ScoreResources(device="cpu", batch_tokens=batch_tokens)
    return open_pairwise(options, str(folder), resources)


def plain_logit(folder: Path, first: str, second: str) -> float:
    """The published forward, one comparison, from the tensors' published names."""
    tensors = load_file(folder / "model.safetensors")
    config = DebertaV2Config.from_pretrained(folder)
    backbone = DebertaV2Model(config).eval()
    prefix = "pretrained_model."
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    backbone.load_state_dict(own)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    texts = zip(MARKERS, (QUESTION[0]["content"], first, second), strict=True)
    ids = [i for marker, text in texts for i in tokenizer.encode(marker + text)]
    with torch.no_grad():
        hidden = backbone(torch.tensor([ids])).last_hidden_state[0]
    at = [ids.index(tokenizer.convert_tokens_to_ids(marker)) for marker in MARKERS]

    def head(candidate: int) -> float:
        joined = torch.cat([hidden[at[0]], hidden[at[candidate]]])
        inner = tensors["head_layer.1.weight"] @ joined + tensors["head_layer.1.bias"]
        return float(tensors["head_layer.4.weight"] @ inner.tanh() + tensors["head_layer.4.bias"])

    return head(1) - head(2)


def test_a_score_is_the_mean_logit_over_both_orders_of_every_comparison(folder):
    logit = {
        (i, j): plain_logit(folder, ANSWERS[i], ANSWERS[j]) for i, j in permutations(range(4), 2)
    }
    assert max(map(abs, logit.values())) > 0.1  # else the test could not fail
    expected = [sum(logit[i, j] - logit[j, i] for j in range(4) if j != i) / 6 for i in range(4)]
    for tokens in (1, 64, 1000):
        scores = open_in(folder, tokens).score([Conversation(QUESTION, ANSWERS)])
        assert [score.score for score in scores] == pytest.approx(expected, abs=1e-5)


def test_prompts_do_not_see_each_other(folder):
    scorer = open_in(folder)
    talks = [Conversation(QUESTION, ANSWERS[:2]), Conversation(QUESTION, ANSWERS[1:])]
    together = [score.score for score in scorer.score(talks)]
    alone = [score.score for talk in talks for score in scorer.score([talk])]
    assert together == pytest.approx(alone, abs=1e-6)
    assert together[0] == pytest.approx(-together[1], abs=1e-6)


def test_what_cannot_be_compared_is_an_error_row(folder):
    long = " ".join(["wood"] * 40)
    talk = Conversation(QUESTION, [ANSWERS[0], long, "a <|source|> b", ANSWERS[1]])
    scores = open_in(folder, max_length=40).score([talk])
    assert [(s.error or "").partition(":")[0] for s in scores] == [
        "", "too_long", "special_token_in_text", "",
    ]  # fmt: skip
    cut = open_in(folder, max_length=40, too_long="truncate").score([talk])
    assert cut[1].score is not None
    assert [score.cut is not None for score in cut] == [False, True, False, False]
    (alone,) = open_in(folder).score([Conversation(QUESTION, ["wood"])])
    assert alone.error.startswith("one_response:")
    refused = open_in(folder, prompt_length=8).score([Conversation(QUESTION * 9, ANSWERS)])
    assert {score.error.partition(":")[0] for score in refused} == {"too_long"}


def test_a_model_without_its_head_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["head_layer.4.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"head_layer\.4\.weight is missing"):
        open_in(tmp_path)


def test_a_tokenizer_of_other_marker_ids_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = DebertaV2Config.from_pretrained(folder)
    config.update({"cand1_prefix_id": 5})
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="in the tokenizer and"):
        open_in(tmp_path)
