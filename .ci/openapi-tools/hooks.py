"""Values of the formats that no pattern describes."""

import base64
import struct
import zlib

import schemathesis
from hypothesis import strategies


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    head = struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b'\0\0')) + chunk(b'IEND', b'')


PICTURES = [
    'data:image/png;base64,' + base64.b64encode(png()).decode(),
    'https://example.com/image1.jpg',
    'https://images.example.com/a%20b/2.webp?size=1#x',
]
schemathesis.openapi.format('reference-picture', strategies.sampled_from(PICTURES))
schemathesis.openapi.format('configured-model', strategies.just('gemini-2.5-flash-image'))
