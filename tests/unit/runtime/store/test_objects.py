"""A store is asked and answers in plain words; no secret is in them."""

import subprocess
import sys
from pathlib import Path

import pytest
from s3_server import S3, SECRET

from contracts.errors import UserError
from runtime.store.address import address_given, checked, is_address, split_address
from runtime.store.objects import Objects, StoreError
from runtime.store.reasons import reason_of


@pytest.mark.parametrize(
    "address", ["s3://bucket", "s3://bucket/a/b/", "gs://bucket/x", "az://box", "file:///shared"]
)
def test_addresses_of_stores(address: str) -> None:
    assert checked(address) == address.rstrip("/")
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    ["bucket", "s3:/bucket", "s3://", "s3:///x", "http://host/x", "memory:///", "file://x",
     "s3://bucket/../x", "s3://bucket/a b"],
)  # fmt: skip
def test_what_is_no_address_is_told_with_those_that_are(address: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        checked(address)


@pytest.mark.parametrize("address", ["s3://me:hidden@bucket/x", "az://box/x?sig=hidden"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UserError, match="no user name, no password") as told:
        address_given("--store", address)
    assert "hidden" not in str(told.value)


def test_an_address_is_a_store_and_a_key_in_it(tmp_path: Path) -> None:
    assert split_address("s3://bucket/runs/first/prompts") == ("s3://bucket", "runs/first/prompts")
    (tmp_path / "store").mkdir()
    address = f"file://{tmp_path}/store/first/prompts"
    assert split_address(address) == (f"file://{tmp_path}/store", "first/prompts")
    (tmp_path / "store" / "first" / "prompts").mkdir(parents=True)
    assert split_address(address) == (f"file://{tmp_path}/store/first", "prompts")


def test_an_object_is_created_once(address: str) -> None:
    objects = Objects(address)
    assert objects.create("a/b", b"first")
    assert not objects.create("a/b", b"second")
    assert objects.create("a/b", b"first")  # as if the answer to the first had been lost
    assert objects.read("a/b") == b"first"


def test_what_is_not_there_is_none_and_may_be_removed(address: str) -> None:
    objects = Objects(address)
    assert objects.read("nothing") is None
    assert objects.sizes("nothing") == {}
    objects.remove(["nothing", "here"])


def test_a_bucket_that_is_not_there_is_an_error_and_no_empty_store(s3: S3) -> None:
    objects = Objects("s3://no-such-bucket/prefix", retries=0)
    for ask in (lambda: objects.read("a"), lambda: objects.sizes(""),
                lambda: objects.write("a", b""), lambda: objects.create("a", b"")):  # fmt: skip
        with pytest.raises(StoreError, match=r"s3://no-such-bucket/prefix/a?: .*NoSuchBucket"):
            ask()


def test_a_server_that_fails_for_the_moment_is_asked_again(s3: S3) -> None:
    s3.faults.plan(seed=3, count=2, among=3)
    objects = Objects(s3.bucket)
    objects.write("a", b"text")
    assert objects.read("a") == b"text"


def test_a_download_may_take_longer_than_a_request_as_long_as_it_goes_on(
    s3: S3, tmp_path: Path
) -> None:
    Objects(s3.bucket).write("weights", b"x" * 1000)
    s3.faults.come("slow download")
    Objects(s3.bucket, retries=0, seconds=0.3).receive("weights", tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == b"x" * 1000


def test_a_download_that_is_cut_goes_on_from_there(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.store.objects._CHUNK", 1000)
    data = bytes(range(256)) * 64
    objects = Objects(s3.bucket, retries=0)
    objects.write("weights", data)
    s3.faults.come("cut download", "cut download", "cut download")
    objects.receive("weights", tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == data
    s3.faults.come("cut download", *["500 before"] * 2)
    with pytest.raises(StoreError):
        objects.receive("weights", tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_few_pieces_of_a_file_share_the_link(s3: S3, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.truncate(30 << 20)
    objects = Objects(s3.bucket)
    objects.send("weights", path)
    assert objects.sizes("") == {"weights": 30 << 20}
    assert s3.faults.most_at_once <= 4


def test_a_server_that_is_down_is_told_without_a_secret(s3: S3) -> None:
    s3.faults.is_down = True
    with pytest.raises(StoreError, match="500") as told:
        Objects(s3.bucket, retries=0).read("a")
    assert SECRET not in str(told.value)
    assert told.value.__cause__ is None and told.value.__suppress_context__


@pytest.mark.parametrize(
    ("said", "told"),
    [("Error performing PUT http://169.254.169.254/latest/api/token", "holds no credentials for"),
     ("Generic MicrosoftAzure error: Account must be specified", "holds no credentials for"),
     ("403 Forbidden: <Error><Code>InvalidAccessKeyId</Code></Error>", "not valid there, or no"),
     ("GET http://x - HTTP error: error sending request", "no server answers there (GET http://x"),
     ("Error performing GET http://x in 49.7ms - 500", "Error performing GET http://x - 500")],
)  # fmt: skip
def test_a_failure_is_told_in_plain_words_with_what_mends_it(said: str, told: str) -> None:
    assert told in reason_of(OSError(said))


def test_a_password_in_the_endpoint_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hidden@127.0.0.1:1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:1/bucket/a") as told:
        Objects("s3://bucket", retries=0).read("a")
    assert "hidden" not in str(told.value)


def test_an_endpoint_that_is_no_url_is_told_by_its_variable_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "me:hidden@localhost:9000")
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL is no URL; write https://host") as told:
        Objects("s3://bucket")
    assert "hidden" not in str(told.value)


def test_a_folder_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    said = f"file://{tmp_path}/shard: cannot be opened: there is no such folder; make it"
    with pytest.raises(UserError, match=said):
        Objects(f"file://{tmp_path}/shard")


def test_an_endpoint_without_tls_needs_the_users_word(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StoreError, match="no TLS; to allow that, set AWS_ALLOW_HTTP=true"):
        Objects(s3.bucket, retries=0).write("a", b"text")


def test_obstore_is_imported_where_a_store_is_opened_and_not_before() -> None:
    code = (
        "import sys, runtime.store.finished, runtime.store.begun; print('obstore' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False"]


def test_without_obstore_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(UserError, match=r"pip install 'onpolicy\[store\]'"):
        Objects(f"file://{tmp_path}")
