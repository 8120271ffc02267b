"""Robustness cases M03 and M04: what hostile and damaged archives can do, which is to be refused."""

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli.data.sources.archive import read_members
from sentiment_cli.errors import DataError

REVIEW = "aclImdb/train/pos/1_9.txt"
MEBIBYTE = 2**20
MOST_MEMORY = 20 * MEBIBYTE


def member(name: str, data: bytes = b"", kind: bytes = b"0", size_field: bytes = b"", **fields: object) -> bytes:
    """A header as it is told, true or not, and a body."""
    info = tarfile.TarInfo("x")
    info.size, info.type = len(data), kind
    for field, value in fields.items():
        setattr(info, field, value)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw = name.encode("utf-8", "surrogateescape")[:100]
    header[: len(raw)] = raw
    header[124 : 124 + len(size_field)] = size_field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def pax(size: int, data: bytes = b"") -> bytes:
    return member("PaxHeaders/x", data, tarfile.XHDTYPE, size=size)


GOOD = member("aclImdb/train/pos/0_9.txt", b"good")
END = bytes(1024)


def read(path: Path) -> dict[str, bytes]:
    return {found[0]: data for found, data in read_members(path, lambda found: True)}


def refusal(path: Path) -> str:
    """Read what must be refused, within bounded memory; return what was said."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert (caught.value.hint or "").startswith("sha256sum ")
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path):
    """Invariant 4: a test may leave the archive it made under tmp_path/in, and reading it adds nothing anywhere."""
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_text("outside")
    yield
    found = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert {path.parts[0] for path in found} <= {"in", "outside", "data"}
    assert {path.as_posix() for path in found if path.parts[0] == "data"} <= {"data", "data/cache"}  # empty
    assert len(list((tmp_path / "in").iterdir())) <= 1
    assert (tmp_path / "outside").read_text() == "outside"


SKIPPED = {
    "dotdot": member("../outside"),
    "dotdot inside": member("aclImdb/train/pos/../../../outside", b"x"),
    "absolute": member("/tmp/outside", b"x"),
    "absolute review": member("/aclImdb/train/pos/1_9.txt", b"x"),
    "symlink": member("aclImdb/link", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "symlinked folder": member("aclImdb/train/pos", kind=tarfile.SYMTYPE, linkname="../outside"),
    "hardlink": member("aclImdb/link", kind=tarfile.LNKTYPE, linkname="../outside"),
    "hardlink to symlink": member("aclImdb/a", kind=tarfile.SYMTYPE, linkname="../outside")
    + member("aclImdb/b", kind=tarfile.LNKTYPE, linkname="aclImdb/a"),
    "empty-name symlink chain": member("", kind=tarfile.SYMTYPE, linkname=".")
    + member("", kind=tarfile.SYMTYPE, linkname="..")
    + member("outside", b"x"),
    "device": member("aclImdb/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "fifo": member("aclImdb/fifo", kind=tarfile.FIFOTYPE),
    "setuid": member("aclImdb/README", b"x", mode=0o6777),
    "sparse": member("aclImdb/holes", b"x", tarfile.GNUTYPE_SPARSE),
    "GNU name over 4096": member("././@LongLink", b"a/" * 3000, tarfile.GNUTYPE_LONGNAME) + member("a/" * 50, b"x"),
    "PAX path": member("PaxHeaders/x", b"20 path=../outside\n", tarfile.XHDTYPE) + member("aclImdb/x", b"x"),
    "NUL": member("aclImdb/README\0/1_9.txt", b"x"),
    "case clash": member("aclImdb/TRAIN/pos/0_9.txt", b"x") + member("ACLIMDB/train/pos/0_9.txt", b"x"),
    "not UTF-8": member("aclImdb/train/pos/\udcff_9.txt", b"x"),
    "newline": member(REVIEW + "\n", b"x"),
    "leading zero": member("aclImdb/train/pos/00_9.txt", b"x"),
    "no such place": member("aclImdb/test/unsup/1_0.txt", b"x") + member("aclImdb/test/urls_unsup.txt", b"x"),
    "deeper, in the prefix": tarfile.TarInfo(f"{'long' * 20}/{REVIEW}").tobuf(tarfile.USTAR_FORMAT),
    "deeper": member("aclImdb/aclImdb/train/pos/1_9.txt", b"x"),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_m03_invariant_4_a_name_that_is_not_wanted_is_skipped(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / "a.tar"
    path.write_bytes(SKIPPED[name] + GOOD + END)
    assert read(path) == {"train/pos/0_9.txt": b"good"}


REFUSED = {
    "symlink": (
        member(REVIEW, kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "a link or device, not a file (at or after member 'aclImdb/train/pos/1_9.txt')",
    ),
    "hardlink": (GOOD + member(REVIEW, kind=tarfile.LNKTYPE, linkname=REVIEW), "a review is a link or device"),
    "device": (member(REVIEW, kind=tarfile.CHRTYPE), "a review is a link or device"),
    "fifo": (member(REVIEW, kind=tarfile.FIFOTYPE), "a review is a link or device"),
    "folder": (member(REVIEW, kind=tarfile.DIRTYPE), "a review is a link or device"),
    "sparse, 8 GB": (member(REVIEW, kind=tarfile.GNUTYPE_SPARSE, size=8**11 - 1), "a review is a link or device"),
    "duplicate": (GOOD + GOOD, "holds the same review twice, the second time as 'train/pos/0_9.txt'"),
    "duplicate with other stars": (GOOD + member("aclImdb/train/pos/0_8.txt"), "twice, the second time as"),
    "duplicate under ./": (GOOD + member("./aclImdb/train/pos/0_9.txt"), "twice, the second time as"),
    "large": (member(REVIEW, bytes(2**16 + 1)), "member 'aclImdb/train/pos/1_9.txt': it holds more than 65,536 bytes"),
    "large list": (member("aclImdb/train/urls_pos.txt", size=2**22 + 1), "more than 4,194,304 bytes in that member"),
    "lying size": (member(REVIEW, size=60_000), "it is cut off (at or after member 'aclImdb/train/pos/1_9.txt')"),
    "negative size": (member("\x1b[2J", size=-5), "has b'\\xff\\xff\\xff\\xff"),
    "signed size": (member("x", size_field=b"-0000000005\0"), "b'-0000000005' in place of an octal number"),
    "size with underscores": (member("x", size_field=b"0000_000_0_0"), "in place of an octal number"),
    "size in no octal digits": (member("x", size_field=b"00000000009\0"), "b'00000000009' in place of an octal number"),
    "size in base 256": (member(REVIEW, size=2**40), "in place of an octal number"),
    "2 GB PAX header that is not there": (GOOD + pax(2**31), "it is cut off (at or after member"),
    "2 GB GNU name that is not there": (member("x", kind=b"L", size=2**31), "it is cut off (at or after its start)"),
    "wrong checksum": (GOOD[:1] + b"\x1b" + GOOD[2:], "a tar header is damaged (at or after its start)"),
    "no header": (GOOD + b"\x1b[2J" * 256, "(at or after member 'aclImdb/train/pos/0_9.txt')"),
    "control characters": (member("\x1b]0;x\x07\x9b\u202e") + b"x" * 512, r"after member '\x1b]0;x\x07"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["tar", "gz", "xz"])
def test_m03_invariant_4_what_lies_about_a_review_is_refused(tmp_path: Path, name: str, pack) -> None:
    content, said = REFUSED[name]
    path = tmp_path / "in" / "a.tar"
    path.write_bytes(pack(content + END))
    assert said in refusal(path)


def test_m03_a_setuid_review_is_text_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tar"
    path.write_bytes(member(REVIEW, b"text", mode=0o6777) + END)
    assert read(path) == {"train/pos/1_9.txt": b"text"}


def repeated_gzip(*parts: tuple[bytes, int]) -> bytes:
    """A gzip file of many members: quick to make, whatever it unpacks to."""
    return b"".join(gzip.compress(data) * times for data, times in parts)


CAPS = {
    "bomb 1000:1": (
        [(member("aclImdb/imdb.vocab", size=900 * MEBIBYTE), 1), (bytes(MEBIBYTE), 900)],
        "is refused at member 'aclImdb/imdb.vocab': it holds more than 30 times its packed bytes",
    ),
    "bomb behind the end": ([(GOOD + END, 1), (bytes(MEBIBYTE), 900)], "more than 30 times its packed bytes"),
    "2 GB PAX header": ([(GOOD + pax(2**31), 1), (bytes(MEBIBYTE), 2048)], "more than 30 times its packed bytes"),
    "10**6 empty members": (
        [(member("x\x1b") * 10_000, 100)],
        r"at member 'x\x1b': it holds more than 110,000 members",
    ),
}


@pytest.mark.parametrize("name", CAPS)
def test_m04_caps(tmp_path: Path, name: str) -> None:
    parts, said = CAPS[name]
    path = tmp_path / "in" / "a.tar.gz"
    path.write_bytes(repeated_gzip(*parts))
    assert said in refusal(path)


def test_m04_no_archive_unpacks_to_more_than_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tar"
    with path.open("wb") as handle:
        handle.write(GOOD + member("x", size=2**30))
        handle.truncate(2**30 + 4096)
    assert "holds more than 1,000,000,000 bytes in all" in refusal(path)


def test_m04_a_small_archive_may_be_of_any_ratio(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tar.xz"
    rows = [member(f"aclImdb/train/pos/{i}_9.txt", b"The plot was good. " * 50) for i in range(2000)]
    path.write_bytes(lzma.compress(b"".join(rows) + END))
    assert len(b"".join(rows)) > 100 * path.stat().st_size
    assert len(read(path)) == 2000


def test_m04_concatenated_members_are_one_stream(tmp_path: Path) -> None:
    content = GOOD + member(REVIEW, b"more") + END
    for pack in (gzip.compress, lzma.compress):
        path = tmp_path / "in" / "a.tar"
        path.write_bytes(pack(content[:700]) + pack(content[700:]))
        assert read(path) == {"train/pos/0_9.txt": b"good", "train/pos/1_9.txt": b"more"}


def flipped(data: bytes, place: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


NOISE = Random(0)
TAR = b"".join(member(f"aclImdb/train/pos/{i}_9.txt", NOISE.randbytes(6000)) for i in range(30)) + END
GZ, XZ = gzip.compress(TAR), lzma.compress(TAR)
XZ_INDEX_AND_FOOTER = 4 * (int.from_bytes(XZ[-8:-4], "little") + 1) + 12  # the check stands before them

DAMAGED = {
    "gz: junk behind": GZ + b"junk",
    "gz: truncated": GZ[:-20_000],
    "gz: without its CRC": GZ[:-8],
    "gz: wrong CRC": flipped(GZ, -8),
    "gz: wrong length": flipped(GZ, -4),
    "gz: flipped bit": flipped(GZ, 40_000),
    "gz: header alone": GZ[:10],
    "xz: truncated": XZ[:-20_000],
    "xz: without its footer": XZ[:-12],
    "xz: wrong check": flipped(XZ, -XZ_INDEX_AND_FOOTER - 8),
    "xz: flipped bit": flipped(XZ, 40_000),
    "xz: header alone": XZ[:12],
    "tar: cut off in a body": TAR[:100_000],
    "tar: cut off in a header": TAR[:700],
    "tar: cut off between members": TAR[: -len(END)],
    "bz2": bz2.compress(TAR),
    "nothing": b"",
    "text": b"not an archive",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_m04_what_is_damaged_is_refused_and_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in" / "a.tar.gz"
    path.write_bytes(DAMAGED[name])
    assert "is not a readable tar archive: " in refusal(path)


def test_m04_junk_behind_an_xz_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tar.xz"
    path.write_bytes(lzma.compress(GOOD + END) + b"junk")
    assert read(path) == {"train/pos/0_9.txt": b"good"}


@pytest.mark.parametrize("name", ["gz: truncated", "xz: wrong check", "tar: cut off in a body"])
def test_m04_a_damaged_archive_is_an_error_of_one_line_and_exit_3(tmp_path: Path, cli, name: str) -> None:
    path = tmp_path / "in" / "a.tar.gz"
    path.write_bytes(DAMAGED[name])
    done = cli("prepare", SENTIMENT_IMDB=str(path))
    assert done.returncode == 3
    assert f"error: {path} is not a readable tar archive: " in done.stderr
    assert "Traceback" not in done.stderr


@given(place=st.integers(0, len(GOOD) + len(END) - 1), data=st.binary(min_size=1, max_size=40))
def test_m03_any_bytes_are_read_or_refused(tmp_path_factory, place: int, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tar"
    content = GOOD + GOOD.replace(b"pos/0", b"neg/0") + END
    path.write_bytes(content[:place] + data + content[place + len(data) :])
    with contextlib.suppress(DataError):
        assert read(path).keys() <= {
            f"train/{label}/{i}_{j}.txt" for label in ("pos", "neg") for i in range(10) for j in range(10)
        }


@pytest.mark.parametrize(
    ("form", "pack", "quick"),
    [
        (tarfile.USTAR_FORMAT, "", {}),
        (tarfile.GNU_FORMAT, "gz", {"compresslevel": 1}),
        (tarfile.PAX_FORMAT, "xz", {"preset": 0}),
    ],
)
def test_archives_of_every_format_hold_what_their_folder_holds(
    tmp_path: Path, form: int, pack: str, quick: dict[str, int], sample_folder: Path
) -> None:
    path = tmp_path / "in" / "a.tar"
    folder = sample_folder / "test" / "neg"
    with tarfile.open(path, f"w:{pack}", format=form, **quick) as made:
        for kind in ("pos", "neg"):
            made.add(sample_folder / "train" / kind, f"aclImdb/train/{kind}")
        made.add(sample_folder / "train" / "urls_pos.txt", "./aclImdb/train/urls_pos.txt")
        made.add(folder / "0_1.txt", f"{'long/' * 30}aclImdb/train/pos/7_9.txt")
        made.add(folder / "0_1.txt", "aclImdb/ñ/0_1.txt")
        made.add(folder, "aclImdb/test/neg")
    expected = {
        name: (sample_folder / name).read_bytes()
        for name in (f"{f.parent.parent.name}/{f.parent.name}/{f.name}" for f in sample_folder.glob("*/*/*.txt"))
        if name.startswith(("train/pos", "train/neg", "test/neg"))
    }
    expected["train/urls_pos.txt"] = (sample_folder / "train" / "urls_pos.txt").read_bytes()
    assert read(path) == expected


def test_only_wanted_members_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tar"
    path.write_bytes(GOOD + GOOD + member("aclImdb/test/pos/1_9.txt", b"test") + END)
    found = list(read_members(path, lambda found: found["split"] == "test"))
    assert [(member["label"], member["number"], member["stars"], data) for member, data in found] == [
        ("pos", "1", "9", b"test")
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "aclImdb"
    for name, text in (("train/pos/0_9.txt", "good"), ("train/pos/10_9.txt", "ten"), ("train/urls_pos.txt", "urls")):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_a_folder_is_read_in_one_order(folder: Path) -> None:
    other = ("train/pos/x.txt", "train/pos/1_9.feat", "train/pos/١_9.txt")  # the last with an Arabic 1
    for name in ("test/pos/1_9.txt", "test/neg/1_2.txt", "train/unsup/3_0.txt", *other):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    names = [
        *("test/neg/1_2.txt", "test/pos/1_9.txt", "train/pos/0_9.txt", "train/pos/10_9.txt"),
        *("train/unsup/3_0.txt", "train/urls_pos.txt"),
    ]
    assert list(read(folder)) == names
    assert list(read(folder.parent)) == names


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.symlink_to("0_9.txt"), "1_9.txt cannot be read: it is a link"),
        (os.mkfifo, "1_9.txt is not a file"),
        (lambda path: path.mkdir(), "1_9.txt is not a file"),
        (lambda path: path.write_bytes(bytes(2**16 + 1)), "1_9.txt holds more than 65,536 bytes"),
        (lambda path: path.with_name("0_8.txt").write_text("again"), "the same review twice"),
        (lambda path: (shutil.rmtree(path.parent), path.parent.write_text("")), "pos cannot be read: Not a directory"),
    ],
)
def test_m03_what_is_no_review_in_a_folder_is_refused(folder: Path, make, said: str) -> None:
    make(folder / "train" / "pos" / "1_9.txt")
    with pytest.raises(DataError, match=said):
        read(folder)
