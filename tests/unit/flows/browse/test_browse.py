"""`onpolicy browse`: what its pages show, and whom they answer."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from contracts.errors import UserError
from contracts.tables.parts import write_part
from contracts.tables.schemas import PAIRS, PROMPTS, RESPONSES, SCORES
from flows.browse.app import make_app
from flows.browse.index import Index
from flows.browse.listing import Asked, pairs, responses
from flows.browse.search import Search

NASTY = "<script>alert(1)</script> 100% _red_"


def write(folder: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    whole = [dict.fromkeys(schema.names) | row for row in rows]
    write_part(folder, 0, pa.Table.from_pylist(whole, schema=schema), schema)


def said(text: str, role: str = "assistant") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 prompts with 2 responses each in each of 2 rounds, scored by two annotators."""
    run = tmp_path_factory.mktemp("browse") / "it's a run"
    prompts = [{"prompt_id": f"p{n}", "messages": said(f"Question {n}?", "user"), "source": "x",
                "split": "train"} for n in range(30)]  # fmt: skip
    write(run / "prompts", PROMPTS, prompts)
    for number in (1, 2):
        responses, scores, pairs = [], [], []
        for n in range(30):
            for sample in range(2):
                name, text = f"p{n}-{sample}", f"round {number} answer {n} {sample}"
                responses.append({
                    "prompt_id": f"p{n}", "response_id": name, "sample": sample, "seed": 1,
                    "text": NASTY if (n, sample) == (7, 1) else text, "token_ids": [1],
                    "finish_reason": "stop", "n_tokens": n, "policy": "x",
                })  # fmt: skip
                for annotator in ("armorm", "truth"):
                    scores.append({
                        "response_id": name, "prompt_id": f"p{n}", "annotator": annotator,
                        "score": n + sample / 2, "objectives": [0.25, 0.75], "gating": [0.4, 0.6],
                    })  # fmt: skip
            pairs.append({
                "prompt_id": f"p{n}", "prompt": said(f"Question {n}?", "user"),
                "chosen": said("a"), "rejected": said("b"), "chosen_id": f"p{n}-1",
                "rejected_id": f"p{n}-0", "chosen_score": n + 0.5, "rejected_score": float(n),
                "margin": 0.5 + n, "split": "train",
            })  # fmt: skip
        write(run / f"round-{number}" / "responses", RESPONSES, responses)
        write(run / f"round-{number}" / "scores", SCORES, scores)
        write(run / f"round-{number}" / "pairs", PAIRS, pairs)
    return run


@pytest.fixture(scope="module")
def client(run: Path) -> TestClient:
    return TestClient(make_app(Index(run)), base_url="http://127.0.0.1")


def test_the_best_response_of_a_round_comes_first_when_it_is_asked_for(client: TestClient) -> None:
    page = client.get("/?round=2&sort=highest+score").text
    assert "60 found, page 1 of 3" in page
    assert page.index("round 2 answer 29 1") < page.index("round 2 answer 29 0")
    assert "round 1 answer" not in page


def test_a_page_further_goes_on_where_the_first_ended(client: TestClient) -> None:
    assert "answer 16 0" in client.get("/?round=1&sort=highest+score&page=2").text
    assert "page=2" in client.get("/?round=1").text and "Nothing" in client.get("/?page=99").text


def test_words_are_searched_as_they_are_in_any_case(client: TestClient) -> None:
    assert "2 found" in client.get("/", params={"words": "100% _RED_"}).text
    assert "0 found" in client.get("/", params={"words": "100__"}).text
    assert "4 found" in client.get("/", params={"words": "question 12?", "where": "prompts"}).text


def test_filters_go_together(client: TestClient) -> None:
    page = client.get("/?role=chosen&round=1&low=10&high=12&annotator=truth").text
    assert "2 found" in page and "truth 10.5000" in page and "rejected</span>" not in page


def test_pairs_come_by_margin(client: TestClient) -> None:
    page = client.get("/pairs?round=1").text
    assert page.index("margin 29.5000") < page.index("margin 28.5000")
    assert "margin 0.5000" in client.get("/pairs?round=1&sort=narrowest+margin").text


def test_a_prompt_shows_its_responses_of_all_rounds_with_all_scores(client: TestClient) -> None:
    page = client.get("/prompt/p3").text
    for text in ("Question 3?", "round 1 answer 3 0", "round 2 answer 3 1", "armorm 3.5000",
                 "truth 3.0000", "objective 2", "0.7500", "0.6000"):  # fmt: skip
        assert text in page
    assert "round 1 answer" not in client.get("/prompt/p3?round=2").text
    assert client.get("/prompt/nobody").status_code == 404


@pytest.mark.parametrize("path", ["/?words=script", "/pairs?words=script", "/prompt/p7"])
def test_what_a_model_wrote_is_text_and_no_script(client: TestClient, path: str) -> None:
    page = client.get(path).text
    assert "&lt;script&gt;" in page and "<script" not in page


def test_only_this_machines_own_names_are_answered(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"host": "127.0.0.1.evil.example"}).status_code == 400
    assert client.get("/", headers={"host": "localhost:8765"}).status_code == 200


def test_the_browser_is_told_to_load_nothing_else_and_nothing_is_written(
    client: TestClient, run: Path
) -> None:
    before = sorted(run.rglob("*"))
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert client.post("/").status_code == 405
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=x", "page=99999999999999", "low=nan", "low=inf", "round=x", "round=1e300",
     "sort=1;DROP", "annotator='", "split=x"],
)  # fmt: skip
def test_an_address_that_makes_no_sense_is_no_error(client: TestClient, query: str) -> None:
    assert client.get(f"/?{query}").status_code == 200
    assert client.get(f"/pairs?{query}").status_code == 200
    assert client.get(f"/prompt/p1?{query}").status_code == 200


def test_a_table_that_is_gone_is_told(copy: Path) -> None:
    client = TestClient(make_app(Index(copy)), base_url="http://127.0.0.1")
    shutil.rmtree(copy / "round-2")
    answer = client.get("/?round=2")
    assert answer.status_code == 500 and "cannot be read" in answer.text


def test_a_folder_above_and_a_copy_of_a_round_are_no_part_of_the_tables(
    run: Path, tmp_path: Path
) -> None:
    there = Path(shutil.copytree(run, tmp_path / "text=1" / "prompt_id=2" / "demo [old]"))
    shutil.copytree(there / "round-1", there / "round-1.bak")
    client = TestClient(make_app(Index(there)), base_url="http://127.0.0.1")
    page = client.get("/?round=1&sort=highest+score").text
    assert "60 found" in page and "round 1 answer 29 1" in page and "Question 29?" in page
    assert "2 found" in client.get("/?words=round+1+answer+3").text


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run once more, for tests that damage it."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_a_search_that_fails_says_so_and_is_begun_anew(run: Path, copy: Path) -> None:
    client = TestClient(make_app(Index(copy)), base_url="http://127.0.0.1")
    part = copy / "round-1" / "responses" / "part-00000.parquet"
    part.unlink()
    for _ in range(2):
        answer = client.get("/?words=answer")
        assert answer.status_code == 500 and "cannot be read" in answer.text
    shutil.copy(run / "round-1" / "responses" / part.name, part)
    assert "118 found" in client.get("/?words=answer").text


def test_a_search_is_another_where_only_its_case_folding_is_the_same(run: Path) -> None:
    index = Index(run)
    assert index.search("straße", "responses") is not index.search("strasse", "responses")
    assert index.search("red", "responses") is index.search("red", "responses")


def test_only_the_last_searches_are_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.browse.search._KEPT", 2)
    index = Index(run)
    for words in ("answer", "red", "round"):
        index.search(words, "responses").done.wait(10)
    (held,) = index.rows("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'hits%'")
    assert held == (2,)
    assert index.search("answer", "responses").done.wait(10)
    assert responses(index, Asked("/", {"words": "answer"})).total == 118


def test_what_a_search_has_found_so_far_is_never_told_as_all(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ending(Search):
        """It ends as its rows are read."""

        @property
        def hits(self) -> str:  # type: ignore[override]
            self.done.set()
            return "(SELECT row FROM responses)"

        @hits.setter
        def hits(self, _: str) -> None:
            pass

    index = Index(run)
    for listed, path in ((responses, "/"), (pairs, "/pairs")):
        monkeypatch.setattr(index, "search", lambda *_: Ending(files=4, hits="", looked=2))
        assert listed(index, Asked(path, {"words": "answer"})).searched == 50


@pytest.mark.parametrize("name", ["responses", "scores", "pairs"])
def test_a_damaged_part_is_named_before_anything_is_served(copy: Path, name: str) -> None:
    part = copy / "round-2" / name / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(UserError, match=f"{name}/{part.name}.*onpolicy inspect"):
        Index(copy)


def test_a_page_that_does_not_hold_what_its_footer_says_is_told(copy: Path) -> None:
    part = copy / "round-2" / "scores" / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:4] + bytes(200) + whole[204:])
    with pytest.raises(UserError, match=r"cannot be read.*onpolicy inspect"):
        Index(copy)


def test_the_memory_grows_with_the_rows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit() -> str:
        return str(Index(run).rows("SELECT current_setting('memory_limit')")[0][0])

    assert limit() == "244.2 MiB"  # 256 MB, and room for 420 rows
    monkeypatch.setattr("flows.browse.index._MEMORY_A_ROW", 1_000_000)
    assert limit() == "644.6 MiB"


def test_an_objective_without_a_value_is_an_empty_cell(copy: Path) -> None:
    part = copy / "round-1" / "scores" / "part-00000.parquet"
    scored = {"response_id": "p3-0", "prompt_id": "p3", "annotator": "armorm", "score": 1.0,
              "objectives": [0.25, None], "gating": [None, 0.6]}  # fmt: skip
    rows = [dict.fromkeys(SCORES.names) | scored]
    pq.write_table(pa.Table.from_pylist(rows), part)  # no part of ours holds such a one
    client = TestClient(make_app(Index(copy)), base_url="http://127.0.0.1")
    page = client.get("/prompt/p3?round=1").text
    assert "0.2500" in page and "0.6000" in page and "None" not in page


def test_nothing_outside_the_run_can_be_read(run: Path, tmp_path: Path) -> None:
    import duckdb

    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(duckdb.PermissionException):
        Index(run).rows("SELECT * FROM read_csv(?)", [str(tmp_path / "secret.csv")])


def test_a_folder_without_responses_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="runs/demo"):
        Index(tmp_path)
