import pytest

from launcher import changes
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError

PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Person <a@example.org>
Date: Thu, 1 Jan 2026 00:00:00 +0000
Subject: [PATCH] Read the file with the name
 it has

The script opens a file that nobody writes,
so it never ran.

Upstream: reported, not merged
---
diff --git a/dir/prepare.py b/dir/prepare.py
index 1111111..2222222 100644
--- a/dir/prepare.py
+++ b/dir/prepare.py
@@ -1,3 +1,3 @@
 import sys
-open("a")
+open("b")
+print(1)
"""


@pytest.fixture
def patches(tmp_path):
    folder = tmp_path / "bert"
    (folder / "files/lang").mkdir(parents=True)
    (folder / "files/lang/train.py").write_text("pass\n")
    (tmp_path / "common/files/pytorch_common").mkdir(parents=True)
    (tmp_path / "common/files/pytorch_common/mlperf.py").write_text("pass\n")
    (folder / "series").write_text("# order matters\n0001-a.patch  # first\n\n")
    (folder / "0001-a.patch").write_text(PATCH)
    return tmp_path


def test_a_patch_tells_what_why_and_where(patches):
    [change] = changes.read(patches, Benchmark.BERT).patches
    assert change.subject == "Read the file with the name it has"
    assert change.why == "The script opens a file that nobody writes,\nso it never ran."
    assert change.upstream == "reported, not merged"
    assert change.files == ("dir/prepare.py",)
    assert (change.added, change.removed) == (2, 1)


def test_new_files_of_both_overlays_are_listed(patches):
    found = changes.read(patches, Benchmark.BERT).new_files
    assert found == ("lang/train.py", "pytorch_common/mlperf.py")


def test_the_description_names_every_patch_with_its_reason(patches):
    text = changes.describe(changes.read(patches, Benchmark.BERT))
    assert "2 whole files are added" in text
    assert "Read the file with the name it has (dir/prepare.py): The script opens" in text


def test_a_benchmark_without_patches_has_none(tmp_path):
    assert changes.read(tmp_path, Benchmark.RESNET).patches == ()


def test_a_patch_the_series_names_must_be_there(patches):
    (patches / "bert/0001-a.patch").unlink()
    with pytest.raises(ConfigError, match=r"0001-a\.patch is not there"):
        changes.read(patches, Benchmark.BERT)
