"""The process in which an image is converted: it decodes what others drew, so it has little, and is alone.

Run by path with `python -I`, as `convert_child.py SOURCE TARGET FORMAT QUALITY`; it imports nothing of this package.
Exit code 0: the target is whole. Anything else: it is not, and nobody looks further.
"""

from __future__ import annotations

import resource
import sys
import warnings
from pathlib import Path

PIXELS_MAX = 64_000_000
"""Above the largest image that is asked for (6336x2688 and 5504x3072, 17 million)."""
MEMORY_BYTES = 2 << 30
"""A 4K picture decoded is 64 MiB a copy; the rest is the interpreter, and room for the largest that is taken."""
CPU_S = 60


def confine() -> None:
    """Give up what is not needed: a picture that unpacks to more than this is not converted."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def convert(source: Path, target: Path, kind: str, quality: int) -> None:
    """Write a picture in another format; what is transparent is white where the format has no transparency."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    with Image.open(source) as opened:
        picture: Image.Image = opened
        profile = opened.info.get("icc_profile")
        if kind == "jpeg" and ("A" in picture.getbands() or "transparency" in picture.info):
            layer = picture.convert("RGBA")
            picture = Image.new("RGB", layer.size, "white")
            picture.paste(layer, mask=layer.getchannel("A"))
        elif picture.mode not in ("RGB", "RGBA"):
            picture = picture.convert("RGB")
        more = {} if kind == "png" else {"quality": quality}
        picture.save(target, kind.upper(), icc_profile=profile, **more)


if __name__ == "__main__":
    confine()
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
