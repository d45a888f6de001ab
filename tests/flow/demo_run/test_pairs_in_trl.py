"""A run's pairs load with `datasets` and train in TRL as they are."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
]

TRAIN = """
import sys, torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.cpo import CPOConfig, CPOTrainer

policy, pairs, out = sys.argv[1:]
rows = load_dataset("parquet", data_files=f"{pairs}/*.parquet")["train"].select(range(4))
arguments = CPOConfig(out, loss_type="simpo", cpo_alpha=0.0, simpo_gamma=5.0, max_steps=1,
                      per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False)
model = AutoModelForCausalLM.from_pretrained(policy, attn_implementation="eager")
tokenizer = AutoTokenizer.from_pretrained(policy)
result = CPOTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer).train()
assert torch.isfinite(torch.tensor(result.training_loss))
"""


def test_trls_cpo_trainer_takes_the_pairs_as_they_are(
    demo_run: Path, demo_models: Path, tmp_path: Path
) -> None:
    arguments = [str(demo_models / "policy"), str(demo_run / "round-1" / "pairs"), str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-c", TRAIN, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
