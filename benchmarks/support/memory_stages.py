"""One stage's heaviest work in a process of its own, and the most memory that it took.

`python -m benchmarks.support.memory_stages SHAPE.json`: the stage's own code on a random model;
prints the growth of resident memory over what Python and its imports hold.
"""

import gc
import json
import multiprocessing
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """A model, and how much of it is used at once."""

    stage: str
    """training, reference, scoring or sampling."""
    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    pairs: int
    """Pairs of a pass, responses of a batch, or samples decoded together."""
    prompt: int
    answer: int
    logits_mib: int = 64
    checkpointing: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Its config.json."""
        return {
            "model_type": self.family, "vocab_size": self.vocabulary, "hidden_size": self.hidden,
            "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.key_heads,
            "head_dim": self.hidden // self.heads, "max_position_embeddings": 8192,
            "tie_word_embeddings": self.family == "gemma2",
        }  # fmt: skip

    @property
    def config(self) -> Any:
        """The same, as transformers reads it."""
        from transformers import AutoConfig

        return AutoConfig.for_model(**{"sliding_window": 4096, **self.settings})


def train(shape: Shape, folder: Path) -> None:
    """Two optimizer steps of two passes each."""
    from training.config import TrainConfig, TrainResources
    from training.engines import make_engine
    from training.loop.policy import load_policy
    from training.loop.trainer import Trainer
    from training.packed.logprobs import PairScorer

    pairs = _pairs(shape, 4 * shape.pairs)
    resources = TrainResources(
        strategy="none", logits_mib=shape.logits_mib, gradient_checkpointing=shape.checkpointing,
        micro_batch_tokens=pairs[0].length * shape.pairs, threads=2,
    )  # fmt: skip
    config = TrainConfig(global_batch=2 * shape.pairs, dtype="float32", resources=resources)
    engine = make_engine(config)
    policy = loaded(load_policy(str(folder), resources, engine.weights_dtype))
    engine.prepare(PairScorer(policy, shape.logits_mib << 20))
    Trainer(config, engine, pairs).run(0, lambda *_: None)


def reference(shape: Shape, folder: Path) -> None:
    """Two passes over pairs."""
    import torch

    from training.config import TrainResources
    from training.loop.policy import load_policy
    from training.packed.logprobs import PairScorer
    from training.packed.packing import make_batch

    resources = TrainResources(strategy="none", logits_mib=shape.logits_mib)
    policy = loaded(load_policy(str(folder), resources, torch.float32))
    scorer = PairScorer(policy, shape.logits_mib << 20).eval().requires_grad_(False)
    batch = make_batch(_pairs(shape, shape.pairs), "packed")
    with torch.no_grad():
        for _ in range(2):
            scorer(batch)


def score(shape: Shape, folder: Path) -> None:
    """Two batches of one prompt's responses."""
    import torch

    from annotation.armorm.model import load_armorm
    from annotation.armorm.shared_prompt import pack
    from annotation.scorers.batches import Group

    device = torch.device("cpu")
    model = loaded(load_armorm(str(folder), device, torch.float32))
    answers = [[7] * shape.answer for _ in range(shape.pairs)]
    group = Group([5] * shape.prompt, answers, list(range(shape.pairs)), 1)
    with torch.inference_mode():
        for _ in range(2):
            model.forward_shared(pack([group], device, whole=False))


def sample(shape: Shape, folder: Path) -> None:
    """One batch of samples to its end, in transformers."""
    from generation.config import SampleConfig
    from generation.engine_kinds.transformers import TransformersEngine
    from generation.engines import Job
    from generation.engines.requests import Request
    from generation.engines.transformers import Transformers

    engine = TransformersEngine(batch_size=shape.pairs)
    config = SampleConfig(n=1, max_tokens=shape.answer, engine=engine, dtype="float32")
    job = Job(str(folder), config, [3], shape.prompt + shape.answer, 8192)
    running = Transformers(job, engine)
    loaded(running._model)
    prompt = [5] * shape.prompt
    running.add([Request(f"p{number}", 0, number, prompt) for number in range(shape.pairs)])
    running.step()


def loaded(model: Any) -> Any:
    """The model with its weights copied out of the file's map, as onto a GPU: on a CPU the parts
    that nothing touches would else never be in memory. The peak begins anew."""
    for tensor in model.parameters():
        tensor.data = tensor.data.clone()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return model


STAGES = {"training": train, "reference": reference, "scoring": score, "sampling": sample}


def write_model(shape: Shape, folder: Path) -> None:
    """A random model of the shape, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    if shape.stage == "scoring":
        from annotation.armorm.model import ArmoRM

        ArmoRM(shape.config).save_pretrained(folder)
    else:
        AutoModelForCausalLM.from_config(shape.config, dtype=torch.float32).save_pretrained(folder)


def _pairs(shape: Shape, count: int) -> list[Any]:
    from training.packed.packing import Pair

    return [
        Pair(str(number), [5] * shape.prompt, [6] * shape.answer, [7] * shape.answer)
        for number in range(count)
    ]


def measure(shape: Shape, folder: Path) -> float:
    """MiB that the stage's work took at its peak, over the same work of a tiny model, which has
    loaded every library and made their buffers."""
    import torch

    torch.set_num_threads(2)
    tiny = Shape(**asdict(shape) | {
        "hidden": 64, "intermediate": 64, "layers": 1, "heads": 2, "key_heads": 1,
        "vocabulary": 256, "pairs": 1, "prompt": 8, "answer": 8, "logits_mib": 1,
    })  # fmt: skip
    write_model(tiny, folder / "tiny")
    STAGES[shape.stage](tiny, folder / "tiny")
    before = _status("VmRSS")
    STAGES[shape.stage](shape, folder / "model")
    return _status("VmHWM") - before


def _status(name: str) -> float:
    """A figure of this process's memory, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


def main() -> None:
    """Measure one shape; its model is written first, by a process that then ends."""
    shape = Shape(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = multiprocessing.Process(target=write_model, args=(shape, folder / "model"))
        writer.start()
        writer.join()
        print("::" + json.dumps({"peak_mib": measure(shape, folder)}), flush=True)


if __name__ == "__main__":
    main()
