import asyncio
from pathlib import Path

from bulkhead.files import write_json
from bulkhead.runtimes.local.layout import Layout
from bulkhead.runtimes.local.watch import changes


def test_it_asks_to_look_first_and_then_names_what_changed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)

    async def watch() -> list[set[str]]:
        stream = changes(tmp_path)
        seen = [await anext(stream)]
        waiting = asyncio.ensure_future(anext(stream))
        while not waiting.done():  # the watch may begin later than this write
            write_json(layout.status / "default.job.json", {"phase": "Running"})
            await asyncio.wait({waiting}, timeout=0.1)
        seen.append(await waiting)
        await stream.aclose()
        return seen

    assert asyncio.run(watch()) == [set(), {"default.job"}]


def test_silence_asks_to_look_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("bulkhead.runtimes.local.watch._RESYNC_MS", 50)

    async def watch() -> list[set[str]]:
        stream = changes(tmp_path)
        seen = [await anext(stream), await anext(stream)]
        await stream.aclose()
        return seen

    assert asyncio.run(watch()) == [set(), set()]
