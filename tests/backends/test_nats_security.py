"""Who may use a NATS server, and how: TLS, credentials, permissions, each with a real server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nkeys
import pytest

from kv_dict import Backend, ConfigurationError, NatsBackend, RemoteKVMapping
from kv_dict.backends import open_backend
from kv_dict.model import ABSENT, DeletePrefix, Put
from kv_dict.portal import face_of
from kv_dict.testing.servers.nats import NatsServer
from kv_dict.testing.servers.process import free_port
from kv_dict.testing.watching import Watching

T = 10.0
SECRET = "s3cr3t"

LEAST = """
    publish: ["$KV.kv_dict.>", "$JS.API.STREAM.INFO.KV_kv_dict", "$JS.API.DIRECT.GET.KV_kv_dict",
      "$JS.API.STREAM.MSG.GET.KV_kv_dict", "$JS.API.STREAM.PURGE.KV_kv_dict",
      "$JS.API.CONSUMER.CREATE.KV_kv_dict.>", "$JS.API.CONSUMER.DELETE.KV_kv_dict.>",
      "$JS.FC.KV_kv_dict.>"]
    subscribe: ["_INBOX.>"]
"""


def works(backend: Backend) -> None:
    face = face_of(backend)
    face.commit([Put("k", b"1")], timeout=T)
    assert face.read("k", timeout=T).value == b"1"
    face.close()


def refused(backend: Backend, *words: str) -> str:
    """Return the error of any operation; it says `words`, in time, and no secret."""
    face = face_of(backend)
    started = time.monotonic()
    for operation in (
        lambda: face.commit([Put("k", b"1")], timeout=T),
        lambda: face.read("k", timeout=T),
    ):
        with pytest.raises(ConfigurationError) as caught:
            operation()
    assert time.monotonic() - started < T
    face.close()
    for word in words:
        assert word in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# -- TLS -------------------------------------------------------------------------------------------


def tls(certificates: Path, *, optional: bool = False) -> str:
    more = "" if optional else "verify: true"
    return f"""
        tls {{ cert_file: "{certificates}/server.pem", key_file: "{certificates}/server.key"
               ca_file: "{certificates}/ca.pem", {more} }}
        allow_non_tls: {json.dumps(optional)}
    """


@pytest.fixture(scope="module")
def guarded(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that insists on TLS, and on a certificate of the client."""
    with NatsServer(tmp_path_factory.mktemp("tls") / "nats", tls(certificates)) as server:
        yield server


def test_tls_with_a_client_certificate(guarded: NatsServer, certificates: Path) -> None:
    files = (
        f"ca_file={certificates}/ca.pem&cert_file={certificates}/client.pem"
        f"&key_file={certificates}/client.key"
    )
    host = f"localhost:{guarded.port}"
    works(open_backend(f"tls://{host}/?create_bucket=true&{files}"))
    works(open_backend(f"nats://{host}/?{files}"))  # what TLS needs means TLS


def test_what_is_missing_for_tls_is_said(guarded: NatsServer, certificates: Path) -> None:
    port, ca = guarded.port, certificates / "ca.pem"
    refused(NatsBackend(f"nats://127.0.0.1:{port}"), f"use tls://127.0.0.1:{port}")
    refused(NatsBackend(f"tls://localhost:{port}"), "issuer", "ca_file")
    refused(NatsBackend(f"tls://localhost:{port}", ca_file=ca), "cert_file")
    refused(NatsBackend(f"tls://127.0.0.1:{port}", ca_file=ca), "127.0.0.1", "names this host")
    refused(NatsBackend(f"tls://localhost:{port}", ca_file="/nowhere.pem"), "/nowhere.pem")
    junk = certificates / "junk.pem"
    junk.write_text("junk")
    refused(NatsBackend(f"tls://localhost:{port}", ca_file=junk), str(junk))
    with pytest.raises(ConfigurationError, match="both"):
        NatsBackend("tls://localhost", cert_file=certificates / "client.pem")


def test_tls_is_never_given_up(certificates: Path, tmp_path: Path) -> None:
    """Neither to a server that offers it and does not insist, nor to one that has none."""
    monitor = free_port()
    config = f"{tls(certificates, optional=True)}\nhttp: 127.0.0.1:{monitor}\n"
    with NatsServer(tmp_path / "optional", config) as server:
        backend = open_backend(
            f"tls://localhost:{server.port}/?create_bucket=true&ca_file={certificates}/ca.pem"
        )
        face = face_of(backend)
        face.commit([Put("k", b"1")], timeout=T)
        with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/connz") as answer:
            (connection,) = json.load(answer)["connections"]
        assert connection["tls_version"]
        face.close()
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def plain() -> None:
            for _ in range(2):
                client, _ = listener.accept()
                with client:
                    client.sendall(b'INFO {"version":"2.12.0","max_payload":1048576}\r\n')
                    while data := client.recv(1000):
                        received.extend(data)

        thread = threading.Thread(target=plain)
        thread.start()
        refused(NatsBackend(f"tls://u:{SECRET}@127.0.0.1:{port}"), "offers no TLS")
        thread.join()
    assert received == b""


# -- credentials -----------------------------------------------------------------------------------


def test_users_tokens_and_seeds(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    users = f"""authorization {{ users: [
        {{ user: bl02, password: "{SECRET}" }}, {{ nkey: {public} }} ] }}"""
    password, seed_file = tmp_path / "password", tmp_path / "seed"
    password.write_text(f"{SECRET}\n")
    seed_file.write_bytes(seed + b"\n")
    with NatsServer(tmp_path / "users", users) as server:
        at = f"127.0.0.1:{server.port}"
        works(open_backend(f"nats://bl02:{SECRET}@{at}/?create_bucket=true"))
        works(open_backend(f"nats://{at}/?user=bl02&password_file={password}"))
        works(open_backend(f"nats://bl02@{at}/?password_file={password}"))
        works(NatsBackend(server.url, nkey_seed_file=seed_file))
        not_in = "does not let this program in"
        refused(NatsBackend(server.url), not_in, "password_file", "nkey_seed_file")
        refused(NatsBackend(server.url, user="bl02", password="wr0ng"), not_in)
        refused(NatsBackend(server.url, token=SECRET), not_in)
        refused(NatsBackend(server.url, nkey_seed_file=password), "nkey_seed_file", str(password))
        refused(NatsBackend(server.url, nkey_seed_file="/nowhere"), "nkey_seed_file=/nowhere")
        password.write_text("wr0ng\n")  # read anew, as the refusal shows
        backend = open_backend(f"nats://{at}/?user=bl02&password_file={password}")
        refused(backend, not_in)
        password.write_text(f"{SECRET}\n")
        backend.retain()
        works(backend)
    with NatsServer(tmp_path / "token", f'authorization {{ token: "{SECRET}" }}') as server:
        works(open_backend(f"nats://{SECRET}@127.0.0.1:{server.port}/?create_bucket=true"))
        works(NatsBackend(server.url, token=SECRET))
        refused(NatsBackend(server.url, token="wr0ng"), "does not let this program in")


def pair(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), kind))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, **claim: object) -> str:
    """Return what `nsc` would sign."""
    body: dict[str, object] = {
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "iat": int(time.time()),
        "name": "test",
        "nats": claim | {"version": 2},
    }
    digest = hashlib.sha256(json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    header = encoded(b'{"typ":"JWT","alg":"ed25519-nkey"}')
    signed = f"{header}.{encoded(json.dumps(body).encode())}"
    return f"{signed}.{encoded(issuer.sign(signed.encode()))}"


def test_decentralised_credentials(tmp_path: Path) -> None:
    operator = pair(nkeys.PREFIX_BYTE_OPERATOR)
    account, system = pair(nkeys.PREFIX_BYTE_ACCOUNT), pair(nkeys.PREFIX_BYTE_ACCOUNT)
    user = pair(nkeys.PREFIX_BYTE_USER)
    names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    limits = dict.fromkeys(names, -1) | {"wildcards": True}
    storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    accounts = {
        account: jwt(operator, account, type="account", limits=limits | storage),
        system: jwt(operator, system, type="account", limits=limits),
    }
    preload = "".join(f'{key.public_key.decode()}: "{text}"\n' for key, text in accounts.items())
    config = f"""
        operator: "{jwt(operator, operator, type="operator")}"
        system_account: {system.public_key.decode()}
        resolver: MEMORY
        resolver_preload {{ {preload} }}
    """
    token = jwt(account, user, type="user", pub={}, sub={}, subs=-1, data=-1, payload=-1)
    creds = tmp_path / "bl02.creds"
    text = (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "*** A seed is private. ***\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    creds.write_text(text)
    with NatsServer(tmp_path / "nats", config) as server:
        works(open_backend(f"{server.url}/?create_bucket=true&credentials_file={creds}"))
        refused(NatsBackend(server.url), "does not let this program in")
        creds.write_text(text.replace("\n", "\r\n"))
        works(NatsBackend(server.url, credentials_file=creds))
        creds.write_text("nothing")
        refused(NatsBackend(server.url, credentials_file=creds), str(creds), "nsc")
        creds.write_text(text.replace(user.seed.decode(), "SUNOSEED"))
        assert "SUNOSEED" not in refused(
            NatsBackend(server.url, credentials_file=creds), str(creds)
        )


def test_of_several_ways_in_one_is_chosen(tmp_path: Path) -> None:
    for options in (
        {"user": "u"},
        {"password": "p"},
        {"user": "u", "password": "p", "password_file": "f"},
        {"user": "u", "password": "p", "token": "t"},
        {"credentials_file": "f", "nkey_seed_file": "g"},
    ):
        with pytest.raises(ConfigurationError):
            NatsBackend(**options)


# -- permissions -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], NatsBackend]]:
    """A backend as one of several users; the bucket is there."""
    read_only = LEAST.replace('"$KV.kv_dict.>", ', "")
    users = f"""authorization {{ users: [
        {{ user: admin, password: a }},
        {{ user: least, password: a, permissions {{ {LEAST} }} }},
        {{ user: reader, password: a, permissions {{ {read_only} }} }},
        {{ user: deaf, password: a, permissions {{ publish: ">", subscribe: "some.where" }} }},
    ] }}"""
    with NatsServer(tmp_path_factory.mktemp("permissions") / "nats", users) as server:

        def open_as(user: str) -> NatsBackend:
            return NatsBackend(server.url, user=user, password="a", create_bucket=user == "admin")

        works(open_as("admin"))
        yield open_as


def test_least_permissions_are_enough(limited: Callable[[str], NatsBackend]) -> None:
    backend = limited("least")

    async def watch() -> None:
        watched = limited("least")
        async with Watching(watched, "ep1:") as watching:
            await watching.until_synced()
            await asyncio.to_thread(use)
            await watching.until_state({"ep1:n": b"2"})
        await watched.close()

    def use() -> None:
        with RemoteKVMapping(backend, "ep1") as md:
            md.update({f"k{n}": n for n in range(1000)})
            md["more"] = {"nested": 1}
            md["more"]["nested"] = 2
            assert len(md) == 1001
            md.clear()  # more than a batch: a purge
            md["n"] = 1
            assert md.increment("n") == 2

    asyncio.run(watch())


def test_what_is_not_permitted_is_said(limited: Callable[[str], NatsBackend]) -> None:
    backend = limited("reader")
    face = face_of(backend)
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"may not publish to \$KV\.kv_dict\.Ab"):
        face.commit([Put("Ab", b"1")], timeout=T)
    with pytest.raises(ConfigurationError, match=r"\$KV\.kv_dict\.c"):
        face.commit([Put("a", b"1"), Put("b", b"1"), Put("c", b"1", ABSENT)], timeout=T)
    with pytest.raises(ConfigurationError, match=r"\$KV\.kv_dict\.a"):
        face.commit([DeletePrefix("a:"), Put("a", b"1")], timeout=T)
    assert face.read("k", timeout=T).value == b"1"
    face.close()
    deaf = face_of(limited("deaf"))
    with pytest.raises(ConfigurationError, match=r"may not subscribe to _INBOX"):
        deaf.read("k", timeout=T)
    with pytest.raises(ConfigurationError, match=r"may not subscribe to _INBOX"):
        deaf.commit([Put("k", b"1")], timeout=T)
    deaf.close()
    assert time.monotonic() - started < T
