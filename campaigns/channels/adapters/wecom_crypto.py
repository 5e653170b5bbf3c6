"""The envelope of WeCom's callbacks (企业微信 回调加解密方案): SHA-1 over the sorted parts as signature, AES-256-CBC inside.

The plain text is 16 random bytes, four bytes of length, the message, and the id of whom it is for, padded to blocks of 32 bytes
as PKCS #7 does. Everything wrong with it is one refusal that says no more.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
from hashlib import sha1

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = 32


class EnvelopeRefused(Exception):
    """The signature, the encryption or the addressee is wrong."""


def key_of(encoding_aes_key: str) -> bytes:
    """The key of 32 bytes that the 43 characters of an EncodingAESKey stand for. Raises `EnvelopeRefused`."""
    try:
        found = base64.b64decode(encoding_aes_key.encode("ascii") + b"=", validate=True)
    except (binascii.Error, ValueError):
        raise EnvelopeRefused from None
    if len(encoding_aes_key) != 43 or len(found) != 32:
        raise EnvelopeRefused
    return found


def signature(token: str, timestamp: str, nonce: str, encrypted: str) -> str:
    """The SHA-1, in hexadecimal, of the four parts sorted and joined."""
    joined = "".join(sorted((token, timestamp, nonce, encrypted)))
    return sha1(joined.encode(), usedforsecurity=False).hexdigest()


def check(token: str, timestamp: str, nonce: str, encrypted: str, given: str) -> None:
    """Refuse with `EnvelopeRefused` a signature that does not fit."""
    if not hmac.compare_digest(
        signature(token, timestamp, nonce, encrypted).encode(), given.encode("utf-8", "replace")
    ):
        raise EnvelopeRefused


def opened(key: bytes, encrypted: str, receive_id: str) -> bytes:
    """The message in an envelope. Raises `EnvelopeRefused`, also when it is for somebody else."""
    try:
        ciphered = base64.b64decode(encrypted.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise EnvelopeRefused from None
    if not ciphered or len(ciphered) % 16:
        raise EnvelopeRefused
    reader = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    plain = reader.update(ciphered) + reader.finalize()
    pad = plain[-1]
    if not 1 <= pad <= _BLOCK or plain[-pad:] != bytes([pad]) * pad:
        raise EnvelopeRefused
    content = plain[16:-pad]
    if len(content) < 4:
        raise EnvelopeRefused
    (length,) = struct.unpack(">I", content[:4])
    message, addressee = content[4 : 4 + length], content[4 + length :]
    if len(message) != length or not hmac.compare_digest(addressee, receive_id.encode()):
        raise EnvelopeRefused
    return message


def closed(key: bytes, message: bytes, receive_id: str, salt: bytes | None = None) -> str:
    """A message in an envelope, as the other side makes it; `salt` is 16 bytes, by chance unless given."""
    content = (salt or secrets.token_bytes(16)) + struct.pack(">I", len(message)) + message + receive_id.encode()
    pad = _BLOCK - len(content) % _BLOCK
    writer = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(writer.update(content + bytes([pad]) * pad) + writer.finalize()).decode()
