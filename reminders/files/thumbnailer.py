"""Makes one thumbnail, in a process of its own that may take only so much memory and time.

python -I thumbnailer.py LARGEST PIXELS ADDRESS_BYTES CPU_SECONDS FORMAT <picture >thumbnail

Answers with a WebP picture and exit code 0, or with "code: reason" and exit code 3.
"""

import io
import resource
import sys
from typing import Any, NoReturn

REFUSED = 3


def main(largest: int, most_pixels: int, address_bytes: int, cpu_seconds: int, kind: str) -> None:
    """largest: pixels of the longer side. most_pixels: of the original. kind: such as "PNG"."""
    from PIL import Image, ImageFile, WebPImagePlugin

    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and is no warning
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    assert WebPImagePlugin
    _limit(address_bytes, cpu_seconds)
    with Image.open(sys.stdin.buffer, formats=[kind]) as picture:
        pixels = picture.width * picture.height
        if pixels > most_pixels:
            refuse("too_many_pixels", f"{pixels:,} pixels are more than {most_pixels:,}")
        _check_progressive(picture, address_bytes)
        made = _made(picture, largest)
    out = io.BytesIO()
    made.save(out, "WEBP", quality=80, method=4)
    sys.stdout.buffer.write(out.getvalue())


def refuse(code: str, reason: str) -> NoReturn:
    sys.stdout.buffer.write(f"{code}: {reason}".encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    sys.exit(REFUSED)


def _limit(address_bytes: int, cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _check_progressive(picture: Any, address_bytes: int) -> None:
    """A progressive JPEG is held whole, two bytes a coefficient, whatever size is asked for; libjpeg would call it
    broken when it finds no room for that.
    """
    layers = getattr(picture, "layer", None)
    if not layers or not picture.info.get("progressive"):
        return
    widest, highest = max(layer[1] for layer in layers), max(layer[2] for layer in layers)
    share = sum(layer[1] * layer[2] for layer in layers) / (widest * highest)
    needed = int(picture.width * picture.height * share * 2)
    if needed > address_bytes * 3 // 4:
        refuse("needs_memory", f"a progressive JPEG of this size takes {needed // 1_000_000} MB to decode")


def _made(picture: Any, largest: int) -> Any:
    """The first frame, upright and without anything that the file said of itself."""
    from PIL import Image, ImageOps

    picture.draft("RGB", (largest * 2, largest * 2))
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if picture.mode == "1":
        picture = picture.convert("L")  # a byte a pixel as before; it cannot be shrunk smoothly otherwise
    elif picture.mode == "P":
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS, reducing_gap=2.0)
    picture = ImageOps.exif_transpose(picture)
    picture = picture.convert("RGBA" if has_alpha else "RGB")
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    return bare


if __name__ == "__main__":
    try:
        largest, most_pixels, address_bytes, cpu_seconds = (int(text) for text in sys.argv[1:5])
        main(largest, most_pixels, address_bytes, cpu_seconds, sys.argv[5])
    except MemoryError:
        refuse("needs_memory", "it takes more memory to decode than a thumbnail may")
    except Exception as exc:
        refuse("undecodable", f"it cannot be decoded: {type(exc).__name__}: {str(exc)[:200]}")
