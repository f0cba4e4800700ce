from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from fanwood.demo import content, listing
from fanwood.demo.duplicates import BUDGET, Found, among, heaviest


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files, copies, and everything that a walk can stumble over. (Small: worker processes would not be worth it.)"""
    monkeypatch.setenv("FANWOOD_PROCESSES", "1")
    root = here / "things"
    for name in ("a/b", "c", ".git", "a/node_modules"):
        (root / name).mkdir(parents=True)
    (root / "one.txt").write_text("one two\nthree\n", encoding="utf-8")
    (root / "a/copy.txt").write_text("one two\nthree\n", encoding="utf-8")
    (root / "a/b/last").write_text("no newline", encoding="utf-8")
    (root / "c/empty").touch()
    (root / "c/empty too").touch()
    (root / ".git/HEAD").write_text("not counted", encoding="utf-8")
    (root / "a/loop").symlink_to(root)
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "esc\x1b[31m").write_text("red", encoding="utf-8")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"bad\xff")).write_bytes(b"bytes \xff\n")
    return root


def test_counts(program, folder: Path):
    result = program("demo", "things", "--json", "--processes", "2")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    numbers = {name: report[name] for name in ("files", "folders", "lines", "words", "bytes", "symlinks", "skipped")}
    assert numbers == {
        "files": 7, "folders": 3, "lines": 5, "words": 11, "bytes": 49, "symlinks": 2, "skipped": 2,
    }  # fmt: skip
    assert (report["status"], report["failed"], report["runs"]) == ("COMPLETED", 1, 12)
    assert report["failures"] == [{"path": "pipe", "error": "a named pipe, nothing to read"}]
    [copies] = report["duplicates"]
    assert (copies["count"], copies["paths"]) == (2, ["a/copy.txt", "one.txt"])
    assert set(report) == {
        "run", "path", "status", "seconds", "runs", "files", "folders", "lines", "words", "bytes", "failed",
        "symlinks", "skipped", "duplicates", "slowest", "failures", "error",
    }  # fmt: skip


@pytest.mark.long
def test_for_people_and_again_by_tree(program, invoke, folder: Path):
    result = program("demo", "things")
    assert result.returncode == 0
    assert "\x1b" not in result.stdout + result.stderr
    assert "FILES\tFOLDERS\tLINES\tWORDS\tBYTES\tUNREADABLE\n7\t3\t5\t11\t49\t1\n" in result.stdout
    assert "pipe\ta named pipe, nothing to read\n" in result.stdout
    assert "Left out: 2 symlinks (not followed), 2 folders such as .git or .venv.\n" in result.stdout
    command = result.stdout.splitlines()[-1].removeprefix("Show the tree again: ").split()
    tree = invoke(*command[1:]).stdout
    assert "  demo/folder a/\tCOMPLETED\t" in tree
    assert "    demo/file copy.txt\tCOMPLETED\t" in tree

    assert program("demo", "things").returncode == 0
    assert len(json.loads(invoke("runs", "ls", "--json").stdout)["runs"]) == 2


def test_no_folder(invoke, folder: Path):
    missing = invoke("demo", "nowhere")
    assert (missing.exit_code, missing.stderr) == (2, "error: nowhere does not exist: name a folder to count\n")
    file = invoke("demo", "things/one.txt")
    assert (file.exit_code, file.stderr) == (2, "error: things/one.txt is not a folder: name a folder to count\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(program, folder: Path):
    (folder / "one.txt").chmod(0)
    (folder / "c").chmod(0)
    try:
        report = json.loads(program("demo", "things", "--json").stdout)
        errors = {failure["path"]: failure["error"] for failure in report["failures"]}
        assert errors["one.txt"] == errors["c"] == "Permission denied"
        (folder / "c").chmod(0o700)
        folder.chmod(0)
        assert program("demo", "things").returncode == 1
    finally:
        folder.chmod(0o700)


def test_special_files_are_refused_without_waiting(here: Path):
    os.mkfifo(here / "pipe")
    (here / "link").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        for name, kind in (("pipe", "named pipe"), ("sock", "socket"), ("link", "symlink"), (".", "folder")):
            with pytest.raises(content.Unreadable, match=f"a {kind}, nothing to read: {name}"):
                content.count(name, lambda: False)
    with pytest.raises(content.Unreadable, match="No such file or directory: gone"):
        content.count("gone", lambda: False)


def test_words_across_pieces(here: Path, monkeypatch):
    monkeypatch.setattr(content, "CHUNK", 3)
    (here / "file").write_bytes(b"alpha be  gamma\n d\n\n")
    counted = content.count("file", lambda: False)
    assert (counted.lines, counted.words, counted.bytes) == (3, 4, 20)
    with pytest.raises(content.Unreadable, match="cancelled after 3 bytes"):
        content.count("file", lambda: True)


def test_a_folder_that_is_gone():
    with pytest.raises(content.Unreadable, match="No such file or directory: /nowhere/at/all"):
        listing.look_into("/nowhere/at/all")


def test_what_is_passed_on_stays_small():
    many = [Found("0" * 32, size, f"path/{size}") for size in range(100_000)]
    kept = heaviest(many)
    assert sum(len(each.path) + len(each.hash) for each in kept) < BUDGET
    assert kept[0].bytes == 99_999
    assert heaviest([Found("x", 0, "empty")]) == []


def test_copies_that_waste_most_come_first():
    files = [Found("a", 10, "1"), Found("b", 6, "2"), Found("a", 10, "3"), *[Found("b", 6, f"{n}") for n in range(2)]]
    assert [(each.hash, each.count) for each in among(files)] == [("b", 3), ("a", 2)]
