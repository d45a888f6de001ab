"""`onpolicy browse` over 300,000 responses: its start to the first page, then what a reader does.

`python -m benchmarks.browse_scale [--prompts 60000]`: 5 responses a prompt, 150 words each, in
parts as a run writes them. Each page is asked of the real server over HTTP, one after another.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

SAMPLES, PROMPTS_A_PART, WORDS = 5, 64, 150
ALL_PROMPTS_A_PART = 10_000
FIRST, EACH, MEMORY = 3.0, 0.5, 500.0
PAGES = {
    "search": "/?words=zebrafish",
    "search again, sorted": "/?words=zebrafish&sort=highest+score",
    "search in prompts": "/?words=question+4711&where=prompts",
    "sort": "/?sort=highest+score",
    "longest": "/?sort=longest",
    "page further": "/?sort=highest+score&page=2",
    "last page": "/?sort=highest+score&page=12000",
    "pairs": "/pairs",
    "prompt": "/prompt/p00000042",
}
# What every response holds: the most that a search can find.
COMMON = {
    "all found, sorted": "/?words=word1&sort=highest+score",
    "all found, page further": "/?words=word1&page=2",
    "all found, pairs": "/pairs?words=word1",
}


def write_run(folder: Path, prompts: int) -> int:
    """A run's tables of one round; bytes of all the texts."""
    import pyarrow as pa

    from contracts.tables.parts import write_part
    from contracts.tables.schemas import PROMPTS, RESPONSES, SCORES

    rng = random.Random(0)
    vocabulary = [f"word{number}" for number in range(5000)]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    for name in ("prompts", "round-1/responses", "round-1/scores", "round-1/pairs"):
        (folder / name).mkdir(parents=True)
    written, everything = 0, list[dict]()
    for part, first in enumerate(range(0, prompts, PROMPTS_A_PART)):
        numbers = range(first, min(first + PROMPTS_A_PART, prompts))
        asked, answered, scored = [], [], []
        for number in numbers:
            name = f"p{number:08}"
            message = {"role": "user", "content": f"This is question {number}: what follows?"}
            asked.append({"prompt_id": name, "messages": [message], "source": "x",
                          "split": "train"})  # fmt: skip
            for sample in range(SAMPLES):
                text = " ".join(rng.choices(vocabulary, k=WORDS))
                text += " zebrafish" * (rng.random() < 0.001)
                written += len(text)
                row = dict.fromkeys(RESPONSES.names) | {
                    "prompt_id": name, "response_id": f"{name}-{sample}", "sample": sample,
                    "seed": sample, "text": text, "token_ids": list(range(WORDS)),
                    "finish_reason": "stop", "n_tokens": rng.randrange(1, 4096), "policy": "x",
                }  # fmt: skip
                answered.append(row)
                scored.append(dict.fromkeys(SCORES.names) | {
                    "response_id": f"{name}-{sample}", "prompt_id": name, "annotator": "armorm",
                    "score": rng.gauss(0.1, 0.05), "objectives": [0.5] * 19, "gating": [0.05] * 19,
                })  # fmt: skip
        everything += asked
        for name, rows, schema in (("round-1/responses", answered, RESPONSES),
                                   ("round-1/scores", scored, SCORES)):  # fmt: skip
            write_part(folder / name, part, pa.Table.from_pylist(rows, schema=schema), schema)
        _write_pairs(folder / "round-1" / "pairs", part, asked, answered, scored)
    for part, first in enumerate(range(0, prompts, ALL_PROMPTS_A_PART)):
        some = pa.Table.from_pylist(everything[first : first + ALL_PROMPTS_A_PART], schema=PROMPTS)
        write_part(folder / "prompts", part, some, PROMPTS)
    return written


def _write_pairs(folder: Path, part: int, asked: list, answered: list, scored: list) -> None:
    import pyarrow as pa

    from contracts.tables.parts import write_part
    from contracts.tables.schemas import PAIRS

    rows = []
    for place, prompt in enumerate(asked):
        mine = range(place * SAMPLES, (place + 1) * SAMPLES)
        best, worst = (pick(mine, key=lambda one: scored[one]["score"]) for pick in (max, min))
        high, low = scored[best]["score"], scored[worst]["score"]
        texts = {name: [{"role": "assistant", "content": answered[one]["text"]}]
                 for name, one in (("chosen", best), ("rejected", worst))}  # fmt: skip
        rows.append(texts | {
            "prompt_id": prompt["prompt_id"], "prompt": prompt["messages"],
            "chosen_id": answered[best]["response_id"], "chosen_score": high,
            "rejected_id": answered[worst]["response_id"], "rejected_score": low,
            "margin": high - low, "split": "train",
        })  # fmt: skip
    write_part(folder, part, pa.Table.from_pylist(rows, schema=PAIRS), PAIRS)


def seconds_of(address: str) -> float:
    """How long a page takes to come whole."""
    started = time.perf_counter()
    assert b"</html>" in page_of(address)
    return time.perf_counter() - started


def page_of(address: str) -> bytes:
    """A page, whole."""
    with urllib.request.urlopen(address) as answer:  # noqa: S310
        return bytes(answer.read())


def seconds_of_all(address: str) -> float:
    """How long a search takes to its end, its pages asked for as they ask the browser to."""
    started = time.perf_counter()
    while b"so far" in page_of(address):
        time.sleep(0.1)
    return time.perf_counter() - started


def browsed(run: Path) -> tuple[float, dict[str, float], float]:
    """Seconds from the command to its first page, those of each later one, and MiB held."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli.main", "browse", str(run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        address = server.stdout.readline().split(" at ")[1].split(";")[0].rstrip("/")
        seconds_of(f"{address}/")
        first = time.perf_counter() - started
        pages = {name: seconds_of(address + path) for name, path in PAGES.items()}
        pages["(a search to its end)"] = seconds_of_all(f"{address}/?words=word1")
        pages |= {name: seconds_of(address + path) for name, path in COMMON.items()}
        return first, pages, _peak_mib(server.pid)
    finally:
        server.terminate()
        server.wait()


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Write the run, browse it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        written = write_run(run, options.prompts)
        first, pages, memory = browsed(run)
    slowest = max(pages[name] for name in (*PAGES, *COMMON))
    outcome = {
        "name": "browse_scale",
        "figure": round(first, 2),
        "reach": FIRST,
        "holds": first <= FIRST and slowest <= EACH and memory <= MEMORY,
        "unit": "seconds to the first page; at most",
        "detail": {
            "responses": SAMPLES * options.prompts, "text_mb": written // 1_000_000,
            "seconds": {page: round(value, 3) for page, value in pages.items()},
            "each_at_most": EACH, "peak_mib": round(memory), "mib_at_most": MEMORY,
            "load": os.getloadavg()[0],
        },
    }  # fmt: skip
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
