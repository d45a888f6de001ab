"""The tables that pass between stages: long, one row one fact, joined by id.

Each schema carries its version and a description of every column in its metadata, so a
parquet file explains itself. A column that may be null says so; no other one is.
"""

import pyarrow as pa

VERSION = "2"

# A list's items are named as parquet names them, so that a schema survives a round trip.
MESSAGES = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("role", pa.string(), nullable=False),
                pa.field("content", pa.string(), nullable=False),
            ]
        ),
        nullable=False,
    )
)
TOKEN_IDS = pa.list_(pa.field("element", pa.int32(), nullable=False))
FLOATS = pa.list_(pa.field("element", pa.float32(), nullable=False))


def _column(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


def _table(name: str, *columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"table": name, "version": VERSION})


PROMPTS = _table(
    "PROMPTS",
    _column("prompt_id", pa.string(), "hash of the canonical messages; unique"),
    _column("messages", MESSAGES, "the conversation that the policy answers"),
    _column("source", pa.string(), "dataset or file that the prompt came from"),
    _column("split", pa.string(), "train or test (held out by prompt id); of questions, benchmark"),
)

RESPONSES = _table(
    "RESPONSES",
    _column("prompt_id", pa.string(), "the prompt answered"),
    _column("response_id", pa.string(), "prompt_id, then the sample's index"),
    _column("sample", pa.int32(), "index of the sample, 0 to n-1"),
    _column("seed", pa.int64(), "the request's own seed"),
    _column("text", pa.string(), "the answer without special tokens"),
    _column("token_ids", TOKEN_IDS, "the very tokens sampled, end of turn included"),
    _column("finish_reason", pa.string(), "stop, or length where max_tokens cut it"),
    _column("n_tokens", pa.int32(), "number of tokens sampled"),
    _column("logprob", pa.float32(), "sum of the sampled tokens' log-probs", nullable=True),
    _column("policy", pa.string(), "fingerprint of the policy that was sampled"),
)

SCORES = _table(
    "SCORES",
    _column("response_id", pa.string(), "the response scored"),
    _column("prompt_id", pa.string(), "its prompt"),
    _column("annotator", pa.string(), "name of the reward model"),
    _column("score", pa.float64(), "the reward; null where error says why", nullable=True),
    _column("objectives", FLOATS, "the reward model's raw objectives, in order", nullable=True),
    _column("gating", FLOATS, "the weight of each objective for this prompt", nullable=True),
    _column(
        "disagreement",
        pa.float64(),
        "standard deviation among an ensemble's members",
        nullable=True,
    ),
    _column("cut", pa.int32(), "tokens cut off its end to fit; null where none", nullable=True),
    _column("error", pa.string(), "why there is no score; never a stand-in", nullable=True),
)

PAIRS = _table(
    "PAIRS",
    _column("prompt_id", pa.string(), "the prompt both responses answer"),
    _column("prompt", MESSAGES, "the conversation up to the response"),
    _column("chosen", MESSAGES, "the assistant's preferred response"),
    _column("rejected", MESSAGES, "the assistant's dispreferred response"),
    _column("chosen_id", pa.string(), "response_id of the chosen response"),
    _column("rejected_id", pa.string(), "response_id of the rejected response"),
    _column("chosen_score", pa.float64(), "reward of the chosen response"),
    _column("rejected_score", pa.float64(), "reward of the rejected response; lower"),
    _column("margin", pa.float64(), "chosen_score - rejected_score; above zero"),
    _column("split", pa.string(), "the prompt's split"),
)

DEMONSTRATIONS = _table(
    "DEMONSTRATIONS",
    _column("prompt_id", pa.string(), "the prompt answered"),
    _column("messages", MESSAGES, "the conversation with its best response"),
    _column("response_id", pa.string(), "response_id of that response"),
    _column("score", pa.float64(), "its reward"),
    _column("candidates", pa.int32(), "number of responses that it is the best of"),
    _column("split", pa.string(), "the prompt's split"),
)

TOKENS = _table(
    "TOKENS",
    _column("prompt_id", pa.string(), "the pair's prompt"),
    _column("prompt_ids", TOKEN_IDS, "prompt with one BOS where the tokenizer has one"),
    _column("chosen_ids", TOKEN_IDS, "chosen response; never a BOS"),
    _column("rejected_ids", TOKEN_IDS, "rejected response; never a BOS"),
    _column("chosen_loss_start", pa.int32(), "first index of chosen_ids inside the loss"),
    _column("rejected_loss_start", pa.int32(), "first index of rejected_ids inside the loss"),
)

REPLAYED_TOKENS = _table(
    "REPLAYED_TOKENS",
    *TOKENS,
    _column(
        "replayed_from",
        pa.int32(),
        "the earlier round whose policy sampled the pair: it is off-policy; null where it is not",
        nullable=True,
    ),
)

REFERENCE = _table(
    "REFERENCE",
    _column("prompt_id", pa.string(), "the pair's prompt; rows are in the order of TOKENS"),
    _column("chosen_logp", pa.float32(), "log-prob of the chosen response, summed, nats"),
    _column("rejected_logp", pa.float32(), "log-prob of the rejected response, summed, nats"),
    _column(
        "chosen_shared_logp",
        pa.float32(),
        "of its first tokens alone, as many as the rejected response has, too",
    ),
    _column("rejected_shared_logp", pa.float32(), "the same of the rejected response"),
    _column("chosen_tokens", pa.int32(), "tokens of the chosen response inside the loss"),
    _column("rejected_tokens", pa.int32(), "tokens of the rejected response inside the loss"),
)

COMPARISON = _table(
    "COMPARISON",
    _column("prompt_id", pa.string(), "a held-out prompt"),
    _column("annotator", pa.string(), "name of the reward model"),
    _column(
        "start",
        pa.float64(),
        "mean reward of the starting policy's answers; null where one has no score",
        nullable=True,
    ),
    _column("before", pa.float64(), "the same of the round's own starting policy", nullable=True),
    _column("after", pa.float64(), "the same of the round's trained policy", nullable=True),
    _column("start_unscored", pa.int32(), "the starting policy's answers without a score"),
    _column("before_unscored", pa.int32(), "the same of the round's own starting policy"),
    _column("after_unscored", pa.int32(), "the same of the round's trained policy"),
)

REASONS = _table(
    "REASONS",
    _column("measure", pa.string(), "what was looked at"),
    _column("effect", pa.string(), "better, same, worse, or missing where nothing is known"),
    _column("says", pa.string(), "the figure, and what is allowed"),
)

DECISIONS = _table(
    "DECISIONS",
    _column("outcome", pa.string(), "the round's verdict: better, same or worse"),
    _column("action", pa.string(), "promote, last_good (go back) or stop"),
    _column("by", pa.string(), "rule, a person's name, or time limit"),
    _column("why", pa.string(), "the rule, or what the person said; may be empty"),
    _column("at", pa.string(), "when, ISO 8601 in UTC"),
    _column(
        "reasons",
        pa.list_(pa.field("element", pa.string(), nullable=False)),
        "what each measure of the verdict says",
    ),
)

JUDGEMENTS = _table(
    "JUDGEMENTS",
    _column("benchmark", pa.string(), "whose prompts and rules"),
    _column(
        "question_id", pa.string(), "the benchmark's id; of AlpacaEval, the instruction's hash"
    ),
    _column("turn", pa.int32(), "which turn of the conversation is judged, from 1"),
    _column("order", pa.string(), "baseline_first, model_first, or alone"),
    _column("repeat", pa.int32(), "1 where the game was judged once more for the judge's noise"),
    _column("generator", pa.string(), "the model whose answer is judged"),
    _column("answers_sha256", pa.string(), "hash of the file of its answers"),
    _column("baseline", pa.string(), "the model it plays against", nullable=True),
    _column("baseline_sha256", pa.string(), "hash of the file of its answers", nullable=True),
    _column("judge", pa.string(), "the judge's name at its endpoint"),
    _column("decoding", pa.string(), "the judge's decoding, as JSON"),
    _column("prompt", pa.string(), "name of the benchmark's prompt"),
    _column("prompt_sha256", pa.string(), "hash of the file of prompts"),
    _column(
        "score",
        pa.float64(),
        "AlpacaEval: 1 to 2, 2 is the model's answer; Arena-Hard: 0 to 1 for the model; "
        "MT-Bench: 1 to 10; null where error says why",
        nullable=True,
    ),
    _column("label", pa.string(), "the verdict as the judge said it", nullable=True),
    _column("weight", pa.int32(), "how often it counts: 3 for Arena-Hard's >>"),
    _column("is_hard", pa.bool_(), "a label where the benchmark counts by log-probs"),
    _column("text", pa.string(), "all that the judge wrote; null where it was not asked", True),
    _column("prompt_tokens", pa.int32(), "tokens asked, as the endpoint counted them"),
    _column("completion_tokens", pa.int32(), "tokens written, as the endpoint counted them"),
    _column("error", pa.string(), "why there is no score; never a stand-in", nullable=True),
)

WIN_RATES = _table(
    "WIN_RATES",
    _column("judge", pa.string(), "the judge's name in the config"),
    _column("benchmark", pa.string(), "whose answers"),
    _column(
        "figure",
        pa.string(),
        "win_rate, lc_win_rate, style_controlled (per cent) or score (1 to 10); with _gain: what "
        "it gained over the round before",
    ),
    _column("part", pa.string(), "all, or one turn, category, or quarter by length"),
    _column("value", pa.float64(), "the figure"),
    _column("low", pa.float64(), "lower end of its interval"),
    _column("high", pa.float64(), "upper end"),
    _column("n", pa.int32(), "prompts that it is over"),
    _column("asked", pa.int32(), "prompts that were asked"),
)

_DECODING = (
    _column("preset", pa.string(), "recipe or sampled: the decoding that options then changed"),
    _column("n", pa.int32(), "answers to the question"),
    _column("temperature", pa.float64(), "0 is greedy"),
    _column("top_p", pa.float64(), "likeliest tokens kept, up to this probability"),
    _column("max_tokens", pa.int32(), "most tokens in an answer"),
)

QUESTIONS = _table(
    "QUESTIONS",
    *PROMPTS,
    _column("benchmark", pa.string(), "name of the benchmark"),
    _column("question_id", pa.string(), "the question's id there; its turns share it"),
    _column("turn", pa.int32(), "1 for the first"),
    _column(
        "follows",
        pa.string(),
        "prompt_id of the turn before, whose conversation and answer the messages go on with",
        nullable=True,
    ),
    _column("category", pa.string(), "the benchmark's own; empty where it has none"),
    _column("reference", pa.string(), "the right answer, where there is one", nullable=True),
    *_DECODING,
)

ANSWERS = _table(
    "ANSWERS",
    _column("benchmark", pa.string(), "name of the benchmark"),
    _column("question_id", pa.string(), "the question's id there; its turns share it"),
    _column("turn", pa.int32(), "1 for the first"),
    _column("sample", pa.int32(), "index of the answer, 0 to n-1"),
    _column("prompt_id", pa.string(), "the prompt in QUESTIONS"),
    _column("response_id", pa.string(), "the response in RESPONSES"),
    _column("category", pa.string(), "the benchmark's own; empty where it has none"),
    _column("messages", MESSAGES, "the conversation answered, earlier answers in it"),
    _column("answer", pa.string(), "null where error says why", nullable=True),
    _column("n_tokens", pa.int32(), "its tokens", nullable=True),
    _column("finish_reason", pa.string(), "stop, or length where cut", nullable=True),
    _column("reference", pa.string(), "the right answer, where there is one", nullable=True),
    _column("parsed", pa.string(), "what was read in the answer; null: nothing", nullable=True),
    _column("correct", pa.bool_(), "null where not scored, or without an answer", nullable=True),
    _column("error", pa.string(), "why there is no answer; never a stand-in", nullable=True),
    *_DECODING,
)

METRICS = _table(
    "METRICS",
    _column("step", pa.int64(), "optimizer step"),
    _column("name", pa.string(), "metric, e.g. rewards/margins"),
    _column("value", pa.float64(), "its value at that step"),
)

LEARNING_RATES = _table(
    "LEARNING_RATES",
    _column("step", pa.int64(), "optimizer step of the range test"),
    _column("learning_rate", pa.float64(), "its rate"),
    _column("loss", pa.float64(), "loss of its pairs before the step"),
    _column("smoothed", pa.float64(), "mean of the losses around it"),
    _column("margin", pa.float64(), "rewards/margins; none for SFT", nullable=True),
    _column("accuracy", pa.float64(), "rewards/accuracies; none for SFT", nullable=True),
    _column("grad_norm", pa.float64(), "the gradient's norm before clipping"),
)

ALL = {
    table.metadata[b"table"].decode(): table
    for table in (
        PROMPTS, RESPONSES, SCORES, PAIRS, DEMONSTRATIONS, TOKENS, REPLAYED_TOKENS, REFERENCE,
        COMPARISON, REASONS, DECISIONS, QUESTIONS, ANSWERS, JUDGEMENTS, WIN_RATES, METRICS,
        LEARNING_RATES,
    )
}  # fmt: skip
