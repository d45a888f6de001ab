"""Models reach machines that do not see their folders by way of a store."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from checkout import CHECKOUT
from s3_server import S3
from stored_steps import files_of, made_step

from contracts.errors import OnPolicyError, UserError
from contracts.models.copies import environment_for, located
from contracts.steps.lock import folder_lock
from runtime.store import copies, models
from runtime.store.copies import copy_of
from runtime.store.finished import push
from runtime.store.models import deliver
from runtime.store.objects import Objects, StoreError
from runtime.store.run_id import OBJECT, write_id


@pytest.fixture
def objects(address: str) -> Objects:
    return Objects(address, retries=0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onpolicy" / "models"


def model_in(folder: Path, weights: str = "weights") -> Path:
    """A model that no run has made."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def test_a_model_is_pushed_once_by_its_content_and_each_machine_fetches_it_once(
    s3: S3, tmp_path: Path, cache: Path
) -> None:
    objects, model = Objects(s3.bucket), model_in(tmp_path / "model")
    stored = deliver(objects, model)
    elsewhere = model_in(tmp_path / "the same elsewhere")
    s3.faults.requests.clear()
    assert deliver(objects, elsewhere) == stored
    assert not [request for request in s3.faults.requests if request.startswith("PUT")]
    copy = copy_of(objects, stored)
    assert files_of(copy) == files_of(model)
    assert "Models that onpolicy has fetched" in (cache / "CACHEDIR.TAG").read_text()
    s3.faults.requests.clear()
    assert (copy_of(objects, stored), s3.faults.requests) == (copy, [])


def test_many_processes_of_a_machine_share_one_download(s3: S3, tmp_path: Path) -> None:
    objects = Objects(s3.bucket)
    stored = deliver(objects, model_in(tmp_path / "model"))
    s3.faults.requests.clear()
    threads = [threading.Thread(target=copy_of, args=(objects, stored)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weights = [request for request in s3.faults.requests if "safetensors" in request]
    assert len(weights) == 1


@pytest.fixture
def policy(objects: Objects, tmp_path: Path) -> Path:
    """What a run has trained, whose id both its folder and the store have."""
    folder = made_step(tmp_path / "runs" / "demo" / "round-1" / "policy")
    (folder / ".optimizer").mkdir()
    (folder / ".optimizer" / "state.safetensors").write_text("averages, 12 bytes a weight")
    write_id(tmp_path / "runs" / "demo", "an id")
    objects.write(f"demo/{OBJECT}", b'{"run": "an id"}')
    return folder


def test_a_trained_policy_is_fetched_from_where_its_run_pushes_it_once_it_has(
    objects: Objects, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_LOOK_SECONDS", 0.01)
    pushed = threading.Timer(
        0.05, push, (objects, "demo/round-1/policy", policy), {"beside": ".optimizer"}
    )
    pushed.start()
    with folder_lock(policy.parents[1]):  # the run goes on
        stored = deliver(objects, policy)
    pushed.join()
    assert stored.place == "demo/round-1/policy"
    assert not objects.sizes("_models")
    parts = {name for name in files_of(policy) if name.startswith("part-")}
    assert files_of(copy_of(objects, stored)).keys() == parts


def test_a_policy_that_its_run_does_not_push_is_waited_for_only_so_long(
    objects: Objects, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(models, "_PATIENCE_SECONDS", 0.02)
    told = r"nodes lack it, .* come to .*/demo/round-1/policy\."
    with folder_lock(policy.parents[1]), pytest.raises(OnPolicyError, match=told):
        deliver(objects, policy)


def test_a_policy_that_another_machine_has_made_otherwise_is_not_fetched_in_its_place(
    objects: Objects, policy: Path, tmp_path: Path
) -> None:
    push(objects, "demo/round-1/policy", made_step(tmp_path / "other", text="shark"))
    with pytest.raises(UserError, match=r"demo/round-1/policy is another than this one"):
        deliver(objects, policy)


def test_a_policy_that_its_run_ended_without_pushing_goes_by_its_content(
    objects: Objects, policy: Path
) -> None:
    assert deliver(objects, policy).place.startswith("_models/")


def test_a_policy_of_a_run_that_the_store_does_not_know_goes_by_its_content(
    objects: Objects, policy: Path
) -> None:
    objects.write(f"demo/{OBJECT}", b'{"run": "another id"}')
    assert deliver(objects, policy).place.startswith("_models/")


def test_a_model_that_has_gone_from_the_store_is_told(objects: Objects, tmp_path: Path) -> None:
    stored = deliver(objects, model_in(tmp_path / "model"))
    objects.remove(objects.sizes("_models"))
    with pytest.raises(StoreError, match=r"_models/\w+: the model has gone from the store"):
        copy_of(objects, stored)


def test_weights_that_have_gone_from_the_store_are_sent_again(
    objects: Objects, tmp_path: Path
) -> None:
    model = model_in(tmp_path / "model")
    stored = deliver(objects, model)
    objects.remove(key for key in objects.sizes("_models") if key.endswith(".safetensors"))
    assert deliver(objects, model) == stored
    assert files_of(copy_of(objects, stored)) == files_of(model)


def test_a_copy_of_which_a_file_has_gone_is_fetched_anew(objects: Objects, tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    stored = deliver(objects, model)
    (copy_of(objects, stored) / "model.safetensors").unlink()
    assert files_of(copy_of(objects, stored)) == files_of(model)


def test_where_the_disk_is_full_the_copies_that_were_used_longest_ago_go(
    objects: Objects, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a year ago", "a week ago", "now")
    stored = {name: deliver(objects, model_in(tmp_path / name, name)) for name in names}
    paths = {name: copy_of(objects, one) for name, one in stored.items()}
    for name, days in (("a year ago", 365), ("a week ago", 7)):
        os.utime(paths[name], (0, time.time() - days * 86400))
    free = iter([0, 1 << 40])
    usage = shutil.disk_usage(cache)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    made = copy_of(objects, deliver(objects, model_in(tmp_path / "new", "new")))
    assert {path for path in cache.iterdir() if path.is_dir()} == {
        paths["a week ago"], paths["now"], made
    }  # fmt: skip


def test_a_copy_that_a_process_uses_stays_however_long_ago_it_began_and_the_next_goes(
    objects: Objects, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {name: deliver(objects, model_in(tmp_path / name, name)) for name in ("a", "b")}
    used, unused = (copy_of(objects, one) for one in stored.values())
    for path, days in ((used, 365), (unused, 7)):
        os.utime(path, (0, time.time() - days * 86400))
    child = subprocess.Popen(
        [sys.executable, "-c", "from contracts.models.copies import located as l; print(l('a'), "
         "flush=True); input()"],
        env=os.environ | environment_for({"a": str(used)}), cwd=CHECKOUT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with child:
        assert child.stdout and child.stdout.readline().strip() == str(used)
        full = shutil.disk_usage(cache)._replace(free=0)
        monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: full)
        new = deliver(objects, model_in(tmp_path / "new", "new"))
        made = copy_of(objects, new)
        assert {path for path in cache.iterdir() if path.is_dir()} == {used, made}
        child.communicate("\n")
    shutil.rmtree(made)
    copy_of(objects, new)
    assert not used.exists()  # nobody uses it any more


def test_a_process_finds_a_model_at_its_copy_and_others_where_they_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert located("./model") == "./model"
    for name, value in environment_for({"./model": "/cache/1"}).items():
        monkeypatch.setenv(name, value)
    assert [located("./model"), located("owner/name")] == ["/cache/1", "owner/name"]
