"""Downloads and archives, against a server of this machine alone."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import os
import re
import socket
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from co3lib.datasets import download
from co3lib.datasets.download import ARCHIVES, Archive, DownloadError, fetch, unpack


def a_zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def a_tar(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return file.getvalue()


NOISE = os.urandom(300_000)
WHOLE = a_zip({"set/a.txt": b"a", "set/noise": NOISE})


class Server(ThreadingHTTPServer):
    """Serves ``content`` as ``set.zip``. At most ``sent`` bytes an answer, if it says so; ``asked`` are the ranges."""

    content, sent, ranges, wait = WHOLE, None, True, None
    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def archive(self) -> Archive:
        return Archive(f"http://127.0.0.1:{self.server_port}/set.zip", hashlib.md5(WHOLE).hexdigest())


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        whole, asked = self.server.content, self.headers.get("Range")
        self.server.asked.append(asked)
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if first >= len(whole):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(whole)}")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(whole) - first))
        self.end_headers()
        self.wfile.write(whole[first:][: self.server.sent])
        self.wfile.flush()
        if self.server.wait:
            self.server.wait.wait(20)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setitem(ARCHIVES, "set", server.archive)
    yield server
    if server.wait:
        server.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch("set", folder)
    said = str(caught.value)
    assert said and "\n" not in said
    return said


def test_an_archive_is_downloaded_and_unpacked_once(server, tmp_path):
    folder = fetch("set", tmp_path / "new")
    assert folder == tmp_path / "new/set" and (folder / "set/noise").read_bytes() == NOISE
    assert names_in(tmp_path / "new") == ["set", "set.zip"]
    assert fetch("set", tmp_path / "new") == folder and server.asked == [None]


def test_a_download_that_was_cut_off_goes_on_where_it_was(server, tmp_path):
    server.sent = 100_000
    said = refusal(tmp_path)
    assert said.startswith(
        f"{server.archive.url} could not be downloaded (the connection ended after 100000 of {len(WHOLE)} bytes"
    )
    assert names_in(tmp_path) == ["set.zip.part"]
    refusal(tmp_path)
    server.sent = None
    assert (fetch("set", tmp_path) / "set/noise").read_bytes() == NOISE
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"] and names_in(tmp_path) == ["set", "set.zip"]


def test_a_server_that_cannot_go_on_begins_anew(server, tmp_path):
    server.sent, server.ranges = 100_000, False
    refusal(tmp_path)
    server.sent = None
    assert (fetch("set", tmp_path) / "set/noise").read_bytes() == NOISE


def test_a_download_that_had_come_whole_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(WHOLE)
    assert (fetch("set", tmp_path) / "set/a.txt").read_bytes() == b"a" and server.asked == [f"bytes={len(WHOLE)}-"]


def test_more_than_the_file_has_is_of_another_file(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(WHOLE + b"more")
    assert (fetch("set", tmp_path) / "set/a.txt").read_bytes() == b"a"


def test_a_wrong_hash_is_refused_and_nothing_of_it_stays(server, tmp_path):
    server.content = a_zip({"set/a.txt": b"other"})
    said = refusal(tmp_path)
    assert f"must have the MD5 hash {server.archive.md5}, what came has another and was removed" in said
    assert names_in(tmp_path) == []
    server.content = WHOLE
    assert fetch("set", tmp_path).is_dir()


def test_a_begun_download_of_another_file_is_found_out_by_its_hash(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(b"x" * 1000)
    assert "what came has another and was removed" in refusal(tmp_path)
    assert fetch("set", tmp_path).is_dir()


def test_an_archive_may_be_put_there_by_hand(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(WHOLE)
    assert fetch("set", tmp_path).is_dir() and server.asked == []


def test_an_archive_of_another_hash_that_was_put_there_is_left_alone(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"other")
    assert "set.zip must have the MD5 hash" in refusal(tmp_path) and "remove it" in refusal(tmp_path)
    assert (tmp_path / "set.zip").read_bytes() == b"other" and server.asked == []


def test_without_a_known_hash_what_comes_is_taken(server, tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHIVES, "set", Archive(server.archive.url, None))
    assert fetch("set", tmp_path).is_dir()


def test_offline_is_one_sentence_that_says_what_to_do(tmp_path, monkeypatch, capfd):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/set.zip"
    monkeypatch.setitem(ARCHIVES, "set", Archive(url, None))
    said = refusal(tmp_path)
    assert said.startswith(f"{url} could not be downloaded (Connection refused); ")
    assert said.endswith(f"or put the file into {tmp_path} by hand") and names_in(tmp_path) == []
    assert capfd.readouterr() == ("", "")  # nor does pooch say anything


def test_a_server_that_has_no_such_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.send_error(404))
    assert "(the server answers 404 Not Found)" in refusal(tmp_path)


@pytest.mark.parametrize("full_at", ["set.zip.part", "noise"])
def test_a_full_disk_is_one_sentence_and_what_had_come_is_kept(server, tmp_path, monkeypatch, full_at):
    """While it is downloaded, and while it is unpacked."""

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    def fills_up(opened):
        def of(path, *arguments, **named):
            file = opened(path, *arguments, **named)
            return Full(file) if str(path).endswith(full_at) and {*str(arguments)} & {*"wa"} else file

        return of

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fills_up(Path.open))
        patch.setattr("builtins.open", fills_up(open))
        said = refusal(tmp_path)
    what = tmp_path / ("set.zip.part" if full_at != "noise" else "set")
    assert said == f"the disk is full, {what} could not be written; make room and run the same command again"
    assert names_in(tmp_path) == (["set.zip"] if full_at == "noise" else ["set.zip.part"])
    assert fetch("set", tmp_path).is_dir()


ESCAPES = ["../out.txt", "set/../../out.txt", "/out.txt", "..\\out.txt", "C:/out.txt"]


@pytest.mark.parametrize("pack", [a_zip, a_tar])
@pytest.mark.parametrize("name", ESCAPES)
def test_a_member_that_would_lie_outside_is_refused(tmp_path, pack, name):
    file = tmp_path / "in/archive"
    file.parent.mkdir()
    file.write_bytes(pack({"set/a.txt": b"a", name: b"out"}))
    with pytest.raises(DownloadError, match=r"must hold only members within its folder, it holds .*nothing was unpacked$"):
        unpack(file, tmp_path / "in/set")
    assert names_in(tmp_path) == ["in"] and names_in(tmp_path / "in") == ["archive"]


@pytest.mark.parametrize("target", ["../../out", "/etc"])
def test_a_link_that_leads_outside_is_refused(tmp_path, target):
    (tmp_path / "a.tar").write_bytes(a_tar({"set/a.txt": b"a"}, {"set/link": target}))
    with pytest.raises(DownloadError, match=r"must hold only members within its folder: .*; nothing was unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "set")
    assert names_in(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(
    "content", [b"", b"no archive", WHOLE[:-100], a_tar({"a": NOISE})[:200_000]], ids=["empty", "no", "zip", "tar"]
)
def test_a_damaged_archive_is_refused_and_nothing_is_unpacked(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DownloadError, match=r"archive is damaged or no archive: .*remove it to have it downloaded again"):
        unpack(tmp_path / "archive", tmp_path / "set")
    assert names_in(tmp_path) == ["archive"]


def test_members_of_a_tar_come_out_as_they_went_in(tmp_path):
    (tmp_path / "a.tar").write_bytes(a_tar({"VOCdevkit/VOC2012/a.txt": NOISE}, {"VOCdevkit/link": "VOC2012/a.txt"}))
    unpack(tmp_path / "a.tar", tmp_path / "set")
    assert (tmp_path / "set/VOCdevkit/link").read_bytes() == NOISE


def test_a_download_that_was_killed_goes_on_where_it_was(server, tmp_path):
    server.sent, server.wait = 200_000, threading.Event()
    part = tmp_path / "set.zip.part"
    process = multiprocessing.get_context("fork").Process(target=fetch, args=("set", tmp_path), daemon=True)
    process.start()
    while process.is_alive() and not (part.is_file() and part.stat().st_size >= 100_000):
        time.sleep(0.02)
    assert process.is_alive()
    process.kill()
    process.join()
    begun = part.stat().st_size
    server.sent, _ = None, server.wait.set()
    assert (fetch("set", tmp_path) / "set/noise").read_bytes() == NOISE
    assert server.asked == [None, f"bytes={begun}-"] and names_in(tmp_path) == ["set", "set.zip"]


def test_archives_have_a_name_of_their_own_each():
    assert len({archive.file for archive in ARCHIVES.values()}) == len(ARCHIVES)
    assert all(archive.md5 is None or re.fullmatch("[0-9a-f]{32}", archive.md5) for archive in ARCHIVES.values())
    assert download.ARCHIVES["voc12"].folder == "VOCtrainval_11-May-2012"
