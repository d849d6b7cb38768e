"""The NATS backend on a cluster of three servers, whose leaders are killed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator

import nats
import pytest

from kv_dict import NatsBackend, OutcomeUnknown, RemoteKVMapping, Unavailable
from kv_dict.backends import open_backend
from kv_dict.model import Delete, Put
from kv_dict.portal import face_of
from kv_dict.testing.servers.nats import NatsCluster
from kv_dict.testing.watching import Watching

T = 30.0
WRITERS_TIMEOUT = 3.0
"""Less than an election takes, so that all three outcomes of a write are met."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def url(cluster: NatsCluster, bucket: str) -> str:
    return f"{cluster.url}/?bucket={bucket}&create_bucket=true&replicas=3"


class Writers:
    """Threads that write, each with a backend of its own, and count what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.wrong: list[object] = []
        self._stop = threading.Event()
        self._progress: dict[str, threading.Semaphore] = {}
        self._threads: list[threading.Thread] = []

    def add(self, name: str, write: Callable[[RemoteKVMapping, int], object]) -> None:
        self.acknowledged[name] = self.unknown[name] = 0
        self._progress[name] = threading.Semaphore(0)
        self._threads.append(threading.Thread(target=self._work, args=(name, write)))
        self._threads[-1].start()

    def _work(self, name: str, write: Callable[[RemoteKVMapping, int], object]) -> None:
        with RemoteKVMapping(open_backend(self.url), "ep1", timeout=WRITERS_TIMEOUT) as md:
            n = 0
            while not self._stop.is_set():
                n += 1
                try:
                    write(md, n)
                except OutcomeUnknown:
                    self.unknown[name] += 1
                    continue
                except Unavailable:
                    continue
                except Exception as error:
                    self.wrong.append((name, error))
                    break
                self.acknowledged[name] += 1
                self._progress[name].release()

    def until_each_has_written(self, times: int) -> None:
        for name, progress in self._progress.items():
            for _ in range(times):
                assert progress.acquire(timeout=60), (name, self.wrong)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_leaders_are_killed_under_writers(cluster: NatsCluster, bucket: str, url: str) -> None:
    def count(md: RemoteKVMapping, _: int) -> None:
        md.increment("n")

    def nest(md: RemoteKVMapping, n: int) -> None:
        md["d"]["x"] = n
        latest = other["d"]["x"]
        assert latest >= n, "a read of another connection is behind an acknowledged write"

    def pair(md: RemoteKVMapping, n: int) -> None:
        md.update(a=n, b=n)
        both = other.copy()
        assert both["a"] == both["b"] >= n

    async def work() -> None:
        backend = open_backend(url)
        async with Watching(backend, "ep1:") as watching:
            await watching.until_synced()
            for name, write in {"n1": count, "n2": count, "nest": nest, "pair": pair}.items():
                writers.add(name, write)
            try:
                for _ in range(2):
                    await asyncio.to_thread(writers.until_each_has_written, 5)
                    leader = cluster.nodes[cluster.leader(bucket)]
                    leader.kill()
                    await asyncio.to_thread(writers.until_each_has_written, 20)
                    leader.start()
                await asyncio.to_thread(writers.until_each_has_written, 20)
            finally:
                await asyncio.to_thread(writers.end)
            stored = await backend.snapshot("ep1:", timeout=T)
            await watching.until_state({entry.key: entry.value for entry in stored.entries})
        await backend.close()

    writers = Writers(url)
    with RemoteKVMapping(open_backend(url), "ep1", timeout=T) as other:
        other.update(n=0, d={}, a=0, b=0)
        asyncio.run(work())
        cluster.settle()
        assert not writers.wrong
        acknowledged = writers.acknowledged["n1"] + writers.acknowledged["n2"]
        unknown = writers.unknown["n1"] + writers.unknown["n2"]
        assert acknowledged <= other["n"] <= acknowledged + unknown


@pytest.mark.parametrize("replicas", [1, 3])
def test_many_keys_are_read_at_one_point_in_time(url: str, replicas: int) -> None:
    """More than one answer holds, of replicas that lag differently, under a writer."""
    url = url.replace("replicas=3", f"replicas={replicas}")
    backend = open_backend(url)
    face = face_of(backend)
    for start in (0, 600):
        face.commit([Put(f"p:{n}", b"0") for n in range(start, start + 600)], timeout=T)
    stop = threading.Event()
    last = 0

    def write() -> None:
        nonlocal last
        writing = face_of(open_backend(url))
        while not stop.is_set():
            value = b"%d" % (last + 1)
            writing.commit([Put(f"p:{n}", value) for n in (0, 599, 600, 1199)], timeout=T)
            last += 1
        writing.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(15):
            before = last
            values = {e.key: int(e.value) for e in face.snapshot("p:", timeout=T).entries}
            assert len(values) == 1200
            assert len({values[f"p:{n}"] for n in (0, 599, 600, 1199)}) == 1, "torn"
            assert values["p:0"] >= before, "behind an acknowledged write"
    finally:
        stop.set()
        thread.join()
    face.commit([Delete("p:7")], timeout=T)
    assert len(face.snapshot("p:", timeout=T).entries) == 1199
    assert face.snapshot("q:", timeout=T).entries == ()
    face.close()


def test_one_s_own_writes_are_read_on_any_server(cluster: NatsCluster, url: str) -> None:
    """Each from a connection to another server than the write's: what the replicas have lags."""
    faces = [
        face_of(open_backend(url.replace(cluster.url, node.url))) for node in cluster.nodes.values()
    ]
    for n in range(100):
        faces[n % 3].commit([Put("k", b"%d" % n), Put("l", b"1")], timeout=T)
        reading = faces[(n + 1) % 3]
        assert reading.read("k", timeout=T).value == b"%d" % n
        assert reading.snapshot("k", timeout=T).entries[0].value == b"%d" % n
    for face in faces:
        face.close()


def test_a_server_that_is_down_is_passed_by(cluster: NatsCluster, bucket: str, url: str) -> None:
    async def work() -> None:
        backend = open_backend(url)
        await backend.commit([Put("k", b"1")], timeout=T)
        follower = next(
            node for name, node in cluster.nodes.items() if name != cluster.leader(bucket)
        )
        lonely = NatsBackend(f"{follower.url},{cluster.url.removeprefix('nats://')}", bucket)
        async with Watching(lonely, "") as watching:
            await watching.until_state({"k": b"1"})
            await watching.until_synced()
            follower.kill()
            await backend.commit([Put("k", b"2")], timeout=T)
            await watching.until_state({"k": b"2"})
            assert (await lonely.read("k", timeout=T)).value == b"2"
        await lonely.close()
        await backend.close()
        follower.start()
        cluster.settle()

    asyncio.run(work())


def test_more_replicas_than_servers(cluster: NatsCluster, bucket: str) -> None:
    face = face_of(NatsBackend(cluster.url, bucket, create_bucket=True, replicas=5))
    with pytest.raises(Unavailable, match=r"cannot be made"):
        face.commit([Put("k", b"1")], timeout=T)
    face.close()


def test_replicas_are_those_asked_for(cluster: NatsCluster, bucket: str, url: str) -> None:
    face = face_of(open_backend(url))
    face.commit([Put("k", b"1")], timeout=T)
    face.close()

    async def config() -> dict[str, object]:
        client = await nats.connect(next(iter(cluster.nodes.values())).url)
        answer = await client.request(f"$JS.API.STREAM.INFO.KV_{bucket}", b"", timeout=5)
        await client.close()
        return dict(json.loads(answer.data)["config"])

    assert asyncio.run(config())["num_replicas"] == 3
