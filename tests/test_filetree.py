import subprocess

import pytest

from launcher import filetree
from launcher.errors import ConfigError
from launcher.filetree import File

FILES = {
    "a.txt": File(b"one\n"),
    "a.dir/b.txt": File(b"two\n"),
    "a-b": File(b""),
    "run.sh": File(b"#!/bin/sh\n", executable=True),
}


def test_the_tree_id_is_the_one_git_gives(tmp_path):
    filetree.write_folder(FILES, tmp_path)

    def git(*arguments):
        done = subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init", "-q")
    git("add", "-A")
    assert filetree.tree_id(filetree.read_folder(tmp_path)) == git("write-tree")


def test_a_folder_survives_writing_and_reading(tmp_path):
    filetree.write_folder(FILES, tmp_path)
    assert filetree.read_folder(tmp_path) == FILES


def test_caches_of_python_are_no_part_of_a_tree(tmp_path):
    filetree.write_folder(FILES | {"a.dir/__pycache__/b.pyc": File(b"x")}, tmp_path)
    assert filetree.read_folder(tmp_path) == FILES


def test_a_link_is_refused_by_name(tmp_path):
    (tmp_path / "away").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="away"):
        filetree.read_folder(tmp_path)


def test_one_changed_mode_changes_the_tree_id():
    changed = FILES | {"a.txt": File(b"one\n", executable=True)}
    assert filetree.tree_id(changed) != filetree.tree_id(FILES)
