"""Secrets at rest: sealed with a key that is outside of the database, bound to their row.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits. A sealed text names the key that
opens it, so that keys can be changed, and is bound to its context (the row it stands in), so that
moving it to another row makes it worthless.
"""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smart_support.errors import SetupError, Severity, SupportError
from smart_support.security.keyfile import kept

_FORM = "v1"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")

Context = Sequence[str]
"""What a sealed text is bound to, such as its table, spec, scheme and owner."""


class SealBroken(SupportError):
    """A stored secret cannot be opened: changed, moved, in plain, or its key is not here."""

    code = "CONF_SEAL_BROKEN"
    severity = Severity.CRITICAL
    hint = "Give SMART_SUPPORT_SEALING_KEYS the key it was sealed with, or store it anew."


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of an installation by their ids; the first one seals, all of them open."""

    _keys: Mapping[str, bytes] = field(repr=False)

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return next(iter(self._keys))

    def seal(self, secret: Mapping[str, Any], context: Context) -> str:
        """`secret` (plain JSON) as a text that gives nothing away, to be opened with `context`."""
        key_id = self.newest
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = json.dumps(secret).encode()
        hidden = AESGCM(self._keys[key_id]).encrypt(nonce, plain, _bound(key_id, context))
        return f"{_FORM}.{key_id}.{base64.urlsafe_b64encode(nonce + hidden).decode()}"

    def open(self, sealed: str, context: Context) -> dict[str, Any]:
        """The secret that `seal` hid with the same context.

        Raises:
            SealBroken: it was changed, stands in another row, is not sealed, or its key is gone.
        """
        form, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        if form != _FORM:
            raise SealBroken("a stored secret is not sealed; it is not used")
        key = self._keys.get(key_id)
        if key is None:
            raise SealBroken(
                f"a stored secret needs the sealing key {key_id[:32]!r}, which is not among "
                "SMART_SUPPORT_SEALING_KEYS or in the data folder"
            )
        try:
            hidden = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            plain = AESGCM(key).decrypt(
                hidden[:_NONCE_BYTES], hidden[_NONCE_BYTES:], _bound(key_id, context)
            )
        except (InvalidTag, ValueError, binascii.Error):
            # Not chained: what failed to decrypt has no place in a traceback.
            raise SealBroken(f"a stored secret of {' '.join(context[:3])} was changed") from None
        opened: dict[str, Any] = json.loads(plain)
        return opened

    def is_newest(self, sealed: str) -> bool:
        """Whether `sealed` was sealed with the key that seals now."""
        return sealed.startswith(f"{_FORM}.{self.newest}.")


def _bound(key_id: str, context: Context) -> bytes:
    return json.dumps([_FORM, key_id, *context]).encode()


def parse_keys(text: str) -> Keys:
    """The keys in `ID:BASE64` form, several separated by commas or blanks; the first one seals.

    Raises:
        SetupError: the text is of another form. It does not quote the text.
    """
    found: dict[str, bytes] = {}
    for place, entry in enumerate(re.split(r"[,\s]+", text.strip())):
        key_id, _, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded.encode(), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if not _KEY_ID.fullmatch(key_id) or len(key) != _KEY_BYTES or key_id in found:
            raise SetupError(
                f"The sealing key number {place + 1} is not of the form ID:KEY with a new id and "
                f"{_KEY_BYTES} bytes in base64. `smart-support credentials new-key` prints one."
            )
        found[key_id] = key
    return Keys(found)


def new_key() -> str:
    """A fresh key with an id of its own, as `parse_keys` reads it."""
    encoded = base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    return f"k{secrets.token_hex(4)}:{encoded}"


def kept_keys(path: Path) -> Keys:
    """The keys in the file at `path`, one a line; one is made at the first call (mode 0600).

    Raises:
        SetupError: the file cannot be read or written, or holds something else.
    """
    try:
        return parse_keys(kept(path, new_key))
    except OSError as error:
        raise SetupError(
            f"The sealing keys {path} cannot be read or written ({error.strerror}). Give this "
            "user write permission there, or set SMART_SUPPORT_SEALING_KEYS."
        ) from error
