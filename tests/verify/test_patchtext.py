import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import patchqueue
from launcher.core.benchmark import Benchmark
from launcher.verify import patchtext
from launcher.verify.patchtext import PatchError

LINE = st.sampled_from([b"", b"a", b"b", b"  indented", b"-- dash", b"++ plus", b"\r", b"@@ -1 @@"])
TEXT = st.builds(lambda lines, end: b"\n".join(lines) + end, st.lists(LINE, max_size=12),
                 st.sampled_from([b"", b"\n"]))  # fmt: skip


def diff(folder, before, after):
    """Let git write the patch."""
    for side, files in (("a", before), ("b", after)):
        (folder / side).mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / side / name).write_bytes(content)
    done = subprocess.run(
        ["git", "diff", "--no-index", "--no-renames", "--text", *PLAIN, "a", "b"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    return re.sub(rb"(?m)^diff --git ./(\S+) ./(\S+)$", rb"diff --git a/\1 b/\2", done.stdout)


PLAIN = ("--src-prefix=", "--dst-prefix=")
PAIRS = [
    ({"f": b"one\ntwo\nthree\n"}, {"f": b"one\n2\nthree\nfour\n"}),
    ({"f": b"one\ntwo"}, {"f": b"one\ntwo\n"}),
    ({"f": b"one\ntwo\n"}, {"f": b"one\ntwo"}),
    ({"f": b"one\ntwo"}, {"f": b"one\n2"}),
    ({"f": b"x\n" * 50 + b"end\n"}, {"f": b"start\n" + b"x\n" * 50 + b"END\n"}),
    ({"f": b"only\n"}, {"f": b""}),
    ({"f": b""}, {"f": b"first\n"}),
    ({"f": b"crlf\r\nlines\r\n"}, {"f": b"crlf\r\nchanged\r\n"}),
    ({"f": b"a\n", "g": b"b\n"}, {"f": b"A\n", "g": b"B\n"}),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_what_git_writes_is_applied_to_the_byte(tmp_path, before, after):
    assert patchtext.apply(diff(tmp_path, before, after), before) == after


def test_a_file_can_be_added_and_removed(tmp_path):
    before, after = {"old": b"x\ny\n", "stays": b"s\n"}, {"new": b"1\n", "stays": b"s\n"}
    assert patchtext.apply(diff(tmp_path, before, after), before) == after


@given(before=TEXT, after=TEXT)
def test_any_two_texts_survive_the_way_through_a_patch(tmp_path_factory, before, after):
    folder = tmp_path_factory.mktemp("pair")
    patch = diff(folder, {"f": before}, {"f": after})
    assert patchtext.apply(patch, {"f": before})["f"] == after


PATCH = b"""diff --git a/f b/f
--- a/f
+++ b/f
@@ -1,2 +1,2 @@
 one
-two
+2
"""


@pytest.mark.parametrize(
    ("patch", "files", "said"),
    [
        (PATCH, {"f": b"one\nthree\n"}, "f, line 2: is not what it changes"),
        (PATCH, {"g": b"one\ntwo\n"}, "f is not there"),
        (PATCH.replace(b"-1,2", b"-9,2"), {"f": b"one\ntwo\n"}, "outside the file"),
        (PATCH.replace(b"+2\n", b""), {"f": b"one\ntwo\n"}, "longer than it says"),
        (PATCH.replace(b"-two", b"?two"), {"f": b"one\ntwo\n"}, "a hunk holds"),
        (PATCH.replace(b"a/f b/f", b"a/f b/g"), {"f": b"one\ntwo\n"}, "renames a file"),
        (b"diff --git a/f b/f\nnew file mode 100644\n", {"f": b""}, "exists already"),
        (b"diff --git a/f b/f\nGIT binary patch\nliteral 1\n", {"f": b""}, "as binary"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_by_the_place(patch, files, said):
    with pytest.raises(PatchError, match=said):
        patchtext.apply(patch, files)


def test_an_offset_that_git_would_forgive_is_refused():
    with pytest.raises(PatchError, match="line 1"):
        patchtext.apply(PATCH, {"f": b"zero\none\ntwo\n"})


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(noise):
    for patch in (noise, PATCH + noise, PATCH[:40] + noise, noise + PATCH):
        try:
            patchtext.apply(patch, {"f": b"one\ntwo\n"})
        except PatchError:
            continue


@pytest.mark.parametrize("benchmark", Benchmark)
def test_every_patch_of_ours_can_be_read(benchmark):
    for path in patchqueue.series(benchmark):
        assert patchtext.split(path.read_bytes())
