import contextlib
import gzip
import io
import os
import random
import socket
import tarfile
import zipfile

import pytest
import zstandard

from launcher import unpack
from launcher.errors import ResponseError

SMALL = unpack.Limits(total_bytes=1 << 20, member_bytes=1 << 18, members=50, ratio_from=1 << 16)


def tar(*members, form=tarfile.PAX_FORMAT):
    """Pack (name, content) pairs; None makes a folder, a mapping sets fields."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, dict):
                for key, value in content.items():
                    setattr(info, key, value)
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def zipped(*members, mode=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode is not None:
                info.external_attr = mode << 16
            archive.writestr(info, content)
    return out.getvalue()


@pytest.fixture
def unpacked(tmp_path):
    """Unpack bytes below a folder of their own and return what is there."""

    def run(content, limits=SMALL):
        package, into = tmp_path / "package", tmp_path / "in"
        package.write_bytes(content)
        into.mkdir()
        try:
            unpack.unpack(package, into, limits)
        finally:  # whatever happened, nothing may lie outside
            assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "package"]
            assert not any(path.is_symlink() for path in into.rglob("*"))
        return {
            path.relative_to(into).as_posix(): path.read_bytes()
            for path in into.rglob("*")
            if path.is_file()
        }

    return run


GOOD = (("./", None), ("a/", None), ("a/b.txt", b"hello"), ("c/d/e.txt", b"x" * 1000))
FILES = {"a/b.txt": b"hello", "c/d/e.txt": b"x" * 1000}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_files_come_out_of_every_kind_of_tar(unpacked, form, pack):
    assert unpacked(pack(tar(*GOOD, form=form))) == FILES


def test_files_come_out_of_a_zip(unpacked):
    assert unpacked(zipped(*FILES.items())) == FILES


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_survive(unpacked, form):
    name = "ordner/" + "ü" * 90 + "/" + "n" * 120
    assert unpacked(tar((name, b"1"), ("next", b"2"), form=form)) == {name: b"1", "next": b"2"}


def test_the_comment_of_git_archive_is_no_member(unpacked):
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "abc"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    assert unpacked(out.getvalue()) == {"empty": b""}


def link(kind, target="/etc/passwd"):
    return {"type": kind, "linkname": target}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("../out", b"x", "climbs out"),
        ("a/../../out", b"x", "climbs out"),
        ("..", None, "climbs out"),
        ("/srv/out", b"x", "absolute"),
        ("C:/out", b"x", "drive"),
        ("a\\..\\out", b"x", "backslash"),
        ("a\nb", b"x", "control character"),
        ("a\x9b2Jb", b"x", "control character"),
        ("link", link(tarfile.SYMTYPE), "'link' is a symbolic link"),
        ("hard", link(tarfile.LNKTYPE), "'hard' is a hard link"),
        ("null", {"type": tarfile.CHRTYPE}, "'null' is a character device"),
        ("disk", {"type": tarfile.BLKTYPE}, "'disk' is a block device"),
        ("pipe", {"type": tarfile.FIFOTYPE}, "'pipe' is a named pipe"),
        ("s", {"type": tarfile.GNUTYPE_SPARSE}, "sparse"),
        ("odd", {"type": b"Q"}, "of type"),
        ("n" * 300, b"x", "too long a name"),
        ("/".join("a" * 40), b"x", "deeper than 32"),
        ("a//b", b"x", "empty name"),
        ("big", b"x" * ((1 << 18) + 1), "larger than 262144 bytes"),
    ],
)
def test_a_tar_member_that_could_do_harm_is_refused_by_name(unpacked, name, content, said):
    with pytest.raises(ResponseError, match=said):
        unpacked(tar(("fine", b"1"), (name, content)))


def test_a_file_through_a_link_never_lands_where_the_link_points(unpacked, tmp_path):
    with pytest.raises(ResponseError, match="symbolic link"):
        unpacked(tar(("way", link(tarfile.SYMTYPE, str(tmp_path))), ("way/out", b"x")))


def test_a_name_that_is_not_utf8_is_refused(unpacked):
    raw = tar(("name", b"x"), form=tarfile.USTAR_FORMAT)
    header = bytearray(raw[:512])
    header[:4] = b"n\xff\xfee"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(ResponseError, match=r"n\\\\xff\\\\xfee' is not UTF-8"):
        unpacked(bytes(header) + raw[512:])


@pytest.mark.parametrize("second", [("a", b"2"), ("./a", b"2"), ("a", None), ("a/b", b"2")])
def test_a_name_that_comes_twice_is_refused(unpacked, second):
    with pytest.raises(ResponseError, match=r"comes twice|both a file and a folder"):
        unpacked(tar(("a", b"1"), second))


def test_too_many_members_are_refused(unpacked):
    with pytest.raises(ResponseError, match="more than 50 members"):
        unpacked(tar(*((f"f{n}", b"") for n in range(51))))


def test_too_many_bytes_in_all_are_refused(unpacked):
    content = os.urandom(200_000)
    with pytest.raises(ResponseError, match="takes the package over 1048576 bytes"):
        unpacked(tar(*((f"f{n}", content) for n in range(6))))


def header(name, size, kind=b"0"):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("pack", [gzip, zstandard])
def test_ten_gigabytes_of_zeros_stop_at_the_limit(unpacked, pack):
    bomb = io.BytesIO()
    opener = (
        gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1)
        if pack is gzip
        else zstandard.ZstdCompressor().stream_writer(bomb, closefd=False)
    )
    with opener as out:
        out.write(header("zeros", 10 << 30))
        for _ in range(8):  # more would never be read
            out.write(bytes(1 << 16))
    with pytest.raises(ResponseError, match=r"'zeros' (is larger|unpacks to over 250)"):
        unpacked(bomb.getvalue())


@pytest.mark.parametrize("content", [header("dir/", 1 << 40, b"5"), header(".", 1 << 40)])
def test_bytes_that_nothing_would_count_are_refused(unpacked, content):
    with pytest.raises(ResponseError, match=r"folder with bytes|file without a name"):
        unpacked(content + bytes(4096))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_a_huge_extended_header_is_refused_unread(unpacked, kind):
    with pytest.raises(ResponseError, match="extended header of"):
        unpacked(header("h", 1 << 40, kind) + bytes(4096))


def test_endless_extended_headers_are_refused(unpacked):
    with pytest.raises(ResponseError, match="too many extended headers"):
        unpacked((header("h", 512, b"g") + bytes(512)) * 10)


@pytest.mark.parametrize(
    "body",
    [
        b"no length\n",
        b"999 path=a\n",
        b"0 path=a\n",
        b"11 path=a\n",
        b"6 path\n",
        b"23 GNU.sparse.major=1\n",
        b"\xff" * 100,
    ],
)
def test_an_extended_header_that_lies_is_refused(unpacked, body):
    padded = header("h", len(body), b"x") + body + bytes(-len(body) % 512)
    with pytest.raises(ResponseError, match=r"extended header cannot be read|sparse"):
        unpacked(padded + tar(("a", b"1")))


def test_a_path_in_an_extended_header_is_checked_like_any_other(unpacked):
    body = b"17 path=../../out\n"
    body = b"%d%s" % (len(body), body[2:])
    with pytest.raises(ResponseError, match="climbs out"):
        unpacked(header("h", len(body), b"x") + body + bytes(512 - len(body)) + tar(("a", b"1")))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_an_archive_that_is_cut_short_is_refused(unpacked, pack):
    whole = pack(tar(("a", os.urandom(50_000))))
    with pytest.raises(ResponseError, match=r"ends|cut short|too early"):
        unpacked(whole[: len(whole) // 2])


def test_a_flipped_header_byte_is_noticed(unpacked):
    raw = bytearray(tar(("a", b"1"), ("b", b"2")))
    raw[1024 + 3] ^= 1
    with pytest.raises(ResponseError, match="checksum"):
        unpacked(bytes(raw))


@pytest.mark.parametrize("name", ["../out", "/srv/out", "a/../../out", "..\\out", "a\\b"])
def test_a_zip_that_slips_out_is_refused(unpacked, name):
    with pytest.raises(ResponseError, match=r"climbs out|absolute|backslash"):
        unpacked(zipped(("fine", b"1"), (name, b"x")))


@pytest.mark.parametrize(("mode", "said"), [(0o120777, "symbolic link"), (0o020666, "device")])
def test_a_zip_with_a_link_or_device_is_refused(unpacked, mode, said):
    with pytest.raises(ResponseError, match=said):
        unpacked(zipped(("odd", b"/etc/passwd"), mode=mode))


def test_a_zip_bomb_stops_at_the_limit(unpacked):
    with pytest.raises(ResponseError, match=r"larger than|unpacks to over"):
        unpacked(zipped(("zeros", bytes(50 << 20))))


def test_a_zip_whose_directory_is_huge_is_refused_unread(unpacked):
    raw = bytearray(zipped(("a", b"1")))
    at = raw.rfind(b"PK\x05\x06")
    raw[at + 12 : at + 16] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(ResponseError, match="list of members"):
        unpacked(bytes(raw))


def test_an_encrypted_zip_is_refused(unpacked):
    raw = bytearray(zipped(("a", b"1")))
    raw[6] |= 1
    raw[raw.rfind(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ResponseError, match="encrypted"):
        unpacked(bytes(raw))


def test_a_zip_packed_by_a_rare_method_is_refused(unpacked):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"1" * 100)
    with pytest.raises(ResponseError, match="method 14"):
        unpacked(out.getvalue())


@pytest.mark.parametrize("content", [b"", b"hello", b"\xfd7zXZ\x00", b"\x00" * 2048])
def test_bytes_that_are_no_archive_are_refused(unpacked, content):
    with pytest.raises(ResponseError, match="neither tar"):
        unpacked(content)


def test_a_missing_package_is_one_sentence(tmp_path):
    with pytest.raises(ResponseError, match="cannot be unpacked"):
        unpack.unpack(tmp_path / "absent", tmp_path)


def test_the_temporary_folder_is_gone_afterwards(tmp_path):
    package = tmp_path / "p.tar"
    package.write_bytes(tar(*GOOD))
    with unpack.opened(package) as root:
        assert (root / "a/b.txt").read_bytes() == b"hello"
    assert not root.exists()


def test_a_folder_is_looked_at_where_it_lies(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text("x")
    with unpack.opened(tmp_path) as root:
        assert root == tmp_path
    assert (tmp_path / "a/b").exists()


def test_a_link_in_a_folder_is_refused_and_not_followed(tmp_path):
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(ResponseError, match="'out' is a link"):
        unpack.check_folder(tmp_path)


def test_a_socket_in_a_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(ResponseError, match="'s' is a link, device or pipe"):
            unpack.check_folder(tmp_path)


def test_a_folder_with_too_much_is_refused(tmp_path):
    for number in range(3):
        (tmp_path / str(number)).write_bytes(bytes(100))
    with pytest.raises(ResponseError, match="more than"):
        unpack.check_folder(tmp_path, unpack.Limits(total_bytes=250))
    with pytest.raises(ResponseError, match="more than"):
        unpack.check_folder(tmp_path, unpack.Limits(members=2))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress, None])
def test_a_damaged_archive_is_refused_and_never_raises_anything_else(tmp_path, pack):
    whole = zipped(*FILES.items()) if pack is None else pack(tar(*GOOD))
    draw = random.Random(3)  # noqa: S311 - a test repeats itself on purpose
    for number in range(300):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        package, into = tmp_path / "package", tmp_path / str(number)
        package.write_bytes(bytes(data[: draw.randint(1, len(data))]))
        into.mkdir()
        with contextlib.suppress(ResponseError):
            unpack.unpack(package, into, SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"package", *map(str, range(300))}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("more", [tar(("hidden", b"x")), bytes(2 << 20), b"x"])
def test_what_follows_the_end_of_a_tar_is_refused_and_not_ignored(unpacked, pack, more):
    """`tar --ignore-zeros` and others would show files that were never examined."""
    with pytest.raises(ResponseError, match="goes on after the end of the archive"):
        unpacked(pack(tar(("seen", b"x")) + more))


def test_garbage_after_a_compressed_tar_is_refused(unpacked):
    with pytest.raises(ResponseError, match="damaged"):
        unpacked(gzip.compress(tar(("seen", b"x"))) + b"garbage")
