"""Several files as one import: an archive of them, with one document as its main file.

Nothing is unpacked to a disk. A file is read when the document refers to it, and never one from
outside of the archive. A directory is packed into an archive first, so that both are one thing
from then on.
"""

import io
import os
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smart_support.operations.document import (
    DEFAULT_MAX_BYTES,
    FileBroken,
    FileNotOpenAPI,
    FileTooComplex,
    FileTooLarge,
    decode,
)
from smart_support.operations.text import clean

MAX_FILES = 20_000
"""Real sets of files have up to 3,000."""
MAIN = "!/"
"""`archive.zip!/api/openapi.yaml` names the main file of an archive."""

_SUFFIXES = (".json", ".yaml", ".yml")
_LIKELY = ("openapi", "swagger", "api", "index", "root", "main")
_HEAD = 64 * 1024
_VERSION = re.compile(r"""(?:^|[{,\s])["']?(?:openapi|swagger)["']?\s*:\s*["']?[23]""")
_REFERENCE = re.compile(
    rb"""["']?\$ref["']?\s*:\s*(?:"(?!\#|https?:)[^"]+"|'(?!\#|https?:)[^']+'|(?!["'\#]|https?:)[^\s,}]+)"""
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The main document of an import, and the files beside it."""

    main: bytes
    path: str
    """Of the main document, below the root."""
    content: Callable[[str], bytes | None] | None
    """The bytes of another file; None for a document that came alone."""


def is_archive(raw: bytes) -> bool:
    """Whether this is a ZIP or a TAR (which may be compressed with gzip)."""
    return raw[:4] in {b"PK\x03\x04", b"PK\x05\x06"} or raw[:2] == b"\x1f\x8b" or _is_tar(raw)


def _is_tar(raw: bytes) -> bool:
    return raw[257:262] == b"ustar"


def open_bundle(raw: bytes, *, source: str, max_bytes: int) -> Bundle:
    """The main document in `raw`, which is an archive or that document itself.

    `source` may name the main file, after MAIN; otherwise the one that looks most like one is
    taken. All that is read of an archive together may have `max_bytes`.

    Raises:
        FileBroken, FileTooLarge, FileTooComplex: the archive cannot be read.
        FileNotOpenAPI: no file of it, or more than one, can be the main one.
    """
    if not is_archive(raw):
        return Bundle(raw, "", None)
    try:
        members = _members(raw, source, max_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FileBroken(source, f"the archive is damaged ({clean(str(error), 200)})") from error
    if len(members) == 1 and "" in members:  # one document, compressed
        return Bundle(members[""](max_bytes), "", None)
    files = _Reader(members, source, max_bytes)
    wanted = source.partition(MAIN)[2]
    path = posixpath.normpath(wanted) if wanted else _main(files, members, source)
    main = files.read(path)
    if main is None:
        raise FileNotOpenAPI(source, f"there is no file {clean(path, 200)} in it")
    return Bundle(main, path, files.read)


def main_text(raw: bytes, *, source: str, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """The text of the main document in `raw`; see `open_bundle`."""
    return decode(open_bundle(raw, source=source, max_bytes=max_bytes).main, source)


class _Reader:
    """Reads members of an archive, and no more of them than a limit."""

    def __init__(
        self, members: Mapping[str, Callable[[int], bytes]], source: str, max_bytes: int
    ) -> None:
        self._members = members
        self._source = source
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._known: dict[str, bytes] = {}

    def read(self, path: str) -> bytes | None:
        """The bytes of one member, None if there is none of this name."""
        member = self._members.get(path)
        if member is None:
            return None
        if path not in self._known:
            try:
                content = member(self._left + 1)
            except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError,
                    tarfile.TarError) as error:  # fmt: skip
                problem = f"{clean(path, 200)} in it cannot be read ({clean(str(error), 200)})"
                raise FileBroken(self._source, problem) from error
            if len(content) > self._left:
                read = self._max_bytes - self._left + len(content)
                raise FileTooLarge(self._source, read, self._max_bytes)
            self._left -= len(content)
            self._known[path] = content
        return self._known[path]


def _members(raw: bytes, source: str, max_bytes: int) -> Mapping[str, Callable[[int], bytes]]:
    """What reads each file of an archive, by its path; at most so many bytes of it."""
    if raw[:2] == b"PK":
        archive = zipfile.ZipFile(io.BytesIO(raw))
        entries = (info for info in archive.infolist() if not info.is_dir())
        return _named(
            source, ((info.filename, partial(_of_zip, archive, info)) for info in entries)
        )
    if raw[:2] == b"\x1f\x8b":
        raw = _inflated(raw, source, max_bytes)
        if not _is_tar(raw):
            return {"": lambda _: raw}
    tar = tarfile.open(fileobj=io.BytesIO(raw), mode="r:")  # noqa: SIM115 - it is memory alone
    # Links of any kind are no files; they could lead anywhere.
    files = (info for info in tar if info.isfile())
    return _named(source, ((info.name, partial(_of_tar, tar, info)) for info in files))


def _named(
    source: str, entries: Iterable[tuple[str, Callable[[int], bytes]]]
) -> Mapping[str, Callable[[int], bytes]]:
    members: dict[str, Callable[[int], bytes]] = {}
    for count, (name, read) in enumerate(entries):
        if count >= MAX_FILES:
            raise FileTooComplex(source, f"there are more than {MAX_FILES} files in it")
        path = posixpath.normpath(name.replace("\\", "/"))
        if not path.startswith(("/", "..")):
            members[path] = read
    return members


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(info) as file:
        return file.read(most)


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, most: int) -> bytes:
    file = archive.extractfile(info)
    return file.read(most) if file else b""


def _inflated(raw: bytes, source: str, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    content = inflater.decompress(raw, max_bytes + 1)
    if len(content) > max_bytes:
        raise FileTooLarge(source, len(content), max_bytes)
    return content


def _main(files: _Reader, members: Iterable[str], source: str) -> str:
    """The file that says it is an OpenAPI document, the outermost and best named of them."""
    ranked = sorted((_rank(path), path) for path in members if path.lower().endswith(_SUFFIXES))
    # It nearly always says so at once; an object may have its version anywhere.
    found = _best(files, ranked, _HEAD) or _best(files, ranked, None)
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise FileNotOpenAPI(source, "no file in it is an OpenAPI document")
    names = ", ".join(clean(path, 100) for _, path in found[:10])
    raise FileNotOpenAPI(
        source,
        f"it holds several documents ({names}); name one of them, as {source}{MAIN}{found[0][1]}",
    )


def _best(
    files: _Reader, ranked: list[tuple[tuple[int, int], str]], head: int | None
) -> list[tuple[tuple[int, int], str]]:
    """The first of `ranked` that say within their first bytes what they are, of one rank."""
    found: list[tuple[tuple[int, int], str]] = []
    for rank, path in ranked:
        if found and rank != found[0][0]:
            break
        raw = files.read(path) or b""
        if _VERSION.search(raw[:head].decode("utf-8", "replace")):
            found.append((rank, path))
    return found


def _rank(path: str) -> tuple[int, int]:
    stem = posixpath.basename(path).partition(".")[0].lower()
    named = _LIKELY.index(stem) if stem in _LIKELY else len(_LIKELY)
    return path.count("/"), named


def refers_to_files(raw: bytes) -> bool:
    """Whether a document seems to refer to other files beside it."""
    return _REFERENCE.search(raw) is not None


def pack(directory: Path, max_bytes: int) -> bytes:
    """The documents in `directory` and below as one archive, the same for the same content.

    Links that lead out of the directory are left out, as is what a document cannot refer to.

    Raises:
        FileTooLarge: they have more than `max_bytes` together.
        FileTooComplex: there are more than MAX_FILES of them.
        OSError: one cannot be read.
    """
    root = directory.resolve()
    packed = io.BytesIO()
    size = count = 0
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_documents(root)):
            count += 1
            if count > MAX_FILES:
                raise FileTooComplex(str(directory), f"there are more than {MAX_FILES} files in it")
            size += path.stat().st_size
            if size > max_bytes:
                raise FileTooLarge(str(directory), size, max_bytes)
            # A date of its own would make another archive of the same content.
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return packed.getvalue()


def _documents(root: Path) -> Iterable[Path]:
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".") and name != "node_modules"]
        for name in names:
            path = Path(folder, name)
            if name.lower().endswith(_SUFFIXES) and path.resolve().is_relative_to(root):
                yield path
