"""The process in which an image is converted: it decodes what others drew, so it has little, and is alone.

Run by path with `python -I`, as `convert_child.py SOURCE TARGET FORMAT QUALITY [WIDTH]`; it imports nothing of this
package. With a width it makes a thumbnail, in less memory and time, and gives way to all other work.
Exit code 0: the target is whole. Anything else: it is not, and nobody looks further.
"""

from __future__ import annotations

import os
import resource
import sys
import warnings
from pathlib import Path

PIXELS_MAX = 64_000_000
"""Above the largest image that is asked for (6336x2688 and 5504x3072, 17 million)."""
MEMORY_BYTES = 2 << 30
"""A 4K picture decoded is 64 MiB a copy; the rest is the interpreter, and room for the largest that is taken."""
CPU_S = 60
SMALL_MEMORY_BYTES = 512 << 20
"""Of address space, for a thumbnail: 4096x4096 take 94 MB as PNG, 298 MB as WebP (lab/console/thumbnails.py)."""
SMALL_CPU_S = 15
NICE = 10
"""A tenth of what others get where all cores are taken; with less it would come to nothing."""


def confine(memory_bytes: int = MEMORY_BYTES, cpu_s: int = CPU_S) -> None:
    """Give up what is not needed: a picture that unpacks to more than this is not converted."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
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


def shrink(source: Path, target: Path, kind: str, quality: int, width: int) -> None:
    """Write a thumbnail: at most so wide and twice as high, and never larger than the picture."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    with Image.open(source) as opened:
        box = (width, 2 * width)
        # A JPEG is decoded at a fraction of its size; of what has several frames, the first is shown.
        opened.draft("RGB", box)
        opened.thumbnail(box, Image.Resampling.BICUBIC, reducing_gap=2.0)
        picture: Image.Image = ImageOps.exif_transpose(opened)
        if picture.mode not in ("RGB", "RGBA"):
            has_holes = "A" in picture.getbands() or "transparency" in picture.info
            picture = picture.convert("RGBA" if has_holes else "RGB")
        picture.save(target, kind.upper(), quality=quality, icc_profile=opened.info.get("icc_profile"))


if __name__ == "__main__":
    from_, to, kind_, quality_, *width_ = sys.argv[1:]
    if width_:
        confine(SMALL_MEMORY_BYTES, SMALL_CPU_S)
        os.nice(NICE)
        shrink(Path(from_), Path(to), kind_, int(quality_), int(width_[0]))
    else:
        confine()
        convert(Path(from_), Path(to), kind_, int(quality_))
