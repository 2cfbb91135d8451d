import asyncio
import os
import threading
from pathlib import Path

import pytest
from tests.demo.support import START, Clock, running_shop

from smart_support.demo.records import State
from smart_support.demo.store import DataFolderError, Store, write_whole


def on_disk(folder: Path) -> State:
    return State.model_validate_json((folder / "shop.json").read_bytes())


async def test_seeds_a_new_folder_and_keeps_an_old_one(tmp_path: Path) -> None:
    first = Store.open(tmp_path / "a" / "b", Clock())
    assert on_disk(tmp_path / "a" / "b") == first.state
    first.state.orders["1001"].lines.clear()
    first.changed()
    await first.close()

    second = Store.open(tmp_path / "a" / "b", lambda: pytest.fail("the shop was open already"))

    assert second.state == first.state
    assert second.state.opened_at == START
    await second.close()


async def test_what_was_answered_is_on_disk(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        for path, body in (
            ("/orders/1002/refunds", {"amount": 3}),
            ("/tickets", {"subject": "a", "message": "b"}),
        ):
            await shop.post(path, body, f"key{path}")
            assert on_disk(tmp_path) == shop.company.store.state


async def test_saves_that_wait_share_one_write(tmp_path: Path) -> None:
    store = Store.open(tmp_path, Clock())
    path = tmp_path / "shop.json"
    seen = set()

    async def change(number: int) -> None:
        store.state.next_number[f"n{number}"] = number
        store.changed()
        await store.save()
        assert f"n{number}" in on_disk(tmp_path).next_number
        seen.add(path.stat().st_ino)

    await asyncio.gather(*(change(number) for number in range(20)))

    assert len(seen) <= 3  # each write makes a new file
    await store.close()


async def test_writes_nothing_when_nothing_changed(tmp_path: Path) -> None:
    store = Store.open(tmp_path, Clock())
    before = (tmp_path / "shop.json").stat().st_ino

    await store.save()
    await store.close()

    assert (tmp_path / "shop.json").stat().st_ino == before


async def test_a_cancelled_save_does_not_spoil_the_next(tmp_path: Path) -> None:
    store = Store.open(tmp_path, Clock())
    for number in range(10):
        store.state.next_number["x"] = number
        store.changed()
        saving = asyncio.create_task(store.save())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        saving.cancel()
    store.state.next_number["x"] = 99
    store.changed()

    await store.save()

    assert on_disk(tmp_path).next_number["x"] == 99
    await store.close()


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    texts = {"a" * 300_000, "b" * 200_000}
    write_whole(path, "a" * 300_000)
    done = threading.Event()
    seen = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for text in texts:
            write_whole(path, text)
    done.set()
    reader.join(timeout=5)

    assert seen <= texts
    assert [one.name for one in tmp_path.iterdir()] == ["shop.json"]


async def test_a_folder_has_one_shop(tmp_path: Path) -> None:
    store = Store.open(tmp_path, Clock())

    with pytest.raises(DataFolderError, match="in use by another demo company"):
        Store.open(tmp_path, Clock())
    await store.close()

    await Store.open(tmp_path, Clock()).close()


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"opened_at": 3}'])
async def test_does_not_overwrite_what_it_does_not_understand(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.json").write_text(text)

    for _ in range(2):  # the first refusal has let go of the folder
        with pytest.raises(DataFolderError, match="Move it away to start afresh"):
            Store.open(tmp_path, Clock())

    assert (tmp_path / "shop.json").read_text() == text


def test_says_when_the_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DataFolderError, match=r"cannot be used: .* Give another --data"):
        Store.open(tmp_path / "file" / "data", Clock())


async def test_a_disk_that_refuses_is_not_called_success(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        (tmp_path / "shop.new").mkdir()  # now the new file cannot be opened

        failed = await shop.refund(10, key="key-1")
        again = await shop.refund(10, key="key-1")
        (tmp_path / "shop.new").rmdir()
        replayed = await shop.refund(10, key="key-1")

        assert failed.status_code == again.status_code == 500
        assert failed.json()["code"] == "internal_error"
        assert replayed.headers["idempotent-replayed"] == "true"
        assert on_disk(tmp_path).refunds[replayed.json()["id"]].amount.minor_units == 1000


async def test_reads_go_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    async with running_shop(tmp_path) as shop:
        os.mkfifo(tmp_path / "shop.new")  # opening it waits for a reader
        writing = asyncio.create_task(shop.refund(10))
        async with asyncio.timeout(5):
            while (await shop.get("/orders/1002"))["refunded"]["minor_units"] == 0:
                pass
        assert not writing.done()

        def read_fifo() -> None:
            with (tmp_path / "shop.new").open("rb") as slow:
                (tmp_path / "shop.new").unlink()  # the next write finds an ordinary disk
                slow.read()

        await asyncio.to_thread(read_fifo)
        await asyncio.wait_for(writing, timeout=5)
