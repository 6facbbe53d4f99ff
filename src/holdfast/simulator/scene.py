"""The picture that every simulated upstream paints: a lighthouse in a storm at dusk, holding fast.

Drawn with Pillow at up to four megapixels; `film` brings it to its true size and weight. It is the first thing that a
person sees of all this, so it is drawn with some care; it is seeded with a constant, so every run shows the same one.
Lengths are in units of the shorter edge, so that the composition holds at every ratio.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

_SEED = 16888
_SOFT_PX = 512
"""Clouds, glow and light are drawn with the longer edge at this, and enlarged: they have no edges to lose."""

Point = tuple[float, float]
Colour = tuple[int, int, int]

_SKY: Sequence[tuple[float, Colour]] = (
    (0.00, (13, 16, 38)),
    (0.34, (35, 36, 74)),
    (0.62, (92, 66, 104)),
    (0.82, (186, 98, 92)),
    (0.94, (238, 152, 96)),
    (1.00, (252, 196, 128)),
)
_SEA: Sequence[tuple[float, Colour]] = (
    (0.00, (176, 112, 104)),
    (0.10, (92, 78, 104)),
    (0.35, (38, 50, 84)),
    (1.00, (8, 16, 34)),
)
_CLOUD: Colour = (22, 22, 46)
_EMBER: Colour = (206, 104, 92)
_LIGHT: Colour = (255, 236, 188)
_FOAM: Colour = (214, 220, 234)
_ROCK: Colour = (20, 20, 32)
_ROCK_LIT: Colour = (58, 48, 62)
_WHITE: Colour = (222, 212, 208)
_SHADE: Colour = (74, 70, 92)
_RED: Colour = (164, 46, 48)
_RED_SHADE: Colour = (58, 20, 36)
_IRON: Colour = (24, 22, 34)


def draw(width_px: int, height_px: int) -> Image.Image:
    """Draw the scene.

    Args:
        width_px: Of the drawing.
        height_px: The same.
    """
    scene = _Scene(width_px, height_px)
    scene.sky()
    scene.beam()
    scene.sea()
    scene.rock()
    scene.tower()
    scene.breakers()
    scene.glow()
    return scene.finished()


class _Scene:
    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px, self.height_px = width_px, height_px
        self.unit_px = min(width_px, height_px)
        self.chance = random.Random(_SEED)
        self.image = Image.new("RGB", (width_px, height_px))
        self.horizon_px = 0.60 * height_px
        self.foot: Point = (0.66 * width_px, self.horizon_px + 0.055 * self.unit_px)
        self.lamp: Point = (self.foot[0], self.foot[1] - 0.475 * self.unit_px)
        scale = _SOFT_PX / max(width_px, height_px)
        self.soft_px = (max(8, round(width_px * scale)), max(8, round(height_px * scale)))
        self.soft_scale = self.soft_px[0] / width_px

    # Sky and light

    def sky(self) -> None:
        """Dusk behind torn clouds, lit from below."""
        size = self.soft_px
        horizon_px = round(self.horizon_px * self.soft_scale)
        sky = Image.new("RGB", size, _SKY[-1][1])
        sky.paste(_gradient(_SKY, (size[0], horizon_px)), (0, 0))
        far = _noise(self.chance, size, stretch=3.2, octaves=5)
        near = _noise(self.chance, size, stretch=2.2, octaves=6)
        # Clouds are torn open towards the horizon, and closed above.
        height = Image.linear_gradient("L").resize(size)
        opened = height.point([min(255, round(abs(level / 255 - 0.10) * 330)) for level in range(256)])
        ember = ImageChops.subtract(far, opened).point([min(255, level * 3) for level in range(256)])
        sky.paste(_EMBER, mask=ember.filter(ImageFilter.GaussianBlur(2)))
        heavy = ImageChops.subtract(near, height.point([min(255, round(level * 0.92)) for level in range(256)]))
        sky.paste(_CLOUD, mask=heavy.point([min(232, round(max(0, level - 22) * 4.4)) for level in range(256)]))
        rim = ImageChops.subtract(heavy.filter(ImageFilter.GaussianBlur(3)), heavy)
        sky.paste((150, 92, 104), mask=rim.point([min(150, level * 9) for level in range(256)]))
        self.image.paste(sky.resize(self.image.size, Image.Resampling.BICUBIC), (0, 0))

    def beam(self) -> None:
        """The light goes out to the left, over the sea, and a little to the right."""
        size, scale = self.soft_px, self.soft_scale
        x, y = self.lamp[0] * scale, self.lamp[1] * scale
        unit_px = self.unit_px * scale
        light = Image.new("L", size)
        for towards, tilt, reach, strength in ((-1, 0.10, 2.2, 1.0), (1, -0.06, 1.4, 0.55)):
            for spread, level in ((0.105, 26), (0.075, 34), (0.048, 44), (0.024, 56)):
                layer = Image.new("L", size)
                ImageDraw.Draw(layer).polygon(
                    [
                        (x, y),
                        (x + towards * reach * unit_px, y + (tilt - spread) * reach * unit_px),
                        (x + towards * reach * unit_px, y + (tilt + spread) * reach * unit_px),
                    ],
                    fill=round(level * strength),
                )
                light = ImageChops.add(light, layer)
        light = ImageChops.multiply(light, _fading(size, (x, y), 1.65 * unit_px))
        light = light.filter(ImageFilter.GaussianBlur(unit_px * 0.006))
        self._shine(light.resize(self.image.size, Image.Resampling.BICUBIC), _LIGHT)

    def glow(self) -> None:
        """The lamp itself, brighter than anything else."""
        size, scale = self.soft_px, self.soft_scale
        at = (self.lamp[0] * scale, self.lamp[1] * scale)
        unit_px = self.unit_px * scale
        wide = _fading(size, at, 0.40 * unit_px).point([round(level * level / 255 * 0.40) for level in range(256)])
        small = _fading(size, at, 0.080 * unit_px).point([round(level * level / 255 * 0.8) for level in range(256)])
        light = ImageChops.add(wide, small)
        self._shine(light.resize(self.image.size, Image.Resampling.BICUBIC), _LIGHT)

    def _shine(self, light: Image.Image, colour: Colour) -> None:
        lit = Image.merge("RGB", [light.point([round(level * part / 255) for level in range(256)]) for part in colour])
        self.image = ImageChops.screen(self.image, lit)

    # Water

    def sea(self) -> None:
        """Rows of waves, higher and darker the nearer they are."""
        top = round(self.horizon_px)
        self.image.paste(_gradient(_SEA, (self.width_px, self.height_px - top)), (0, top))
        rows = 13
        for row in range(rows):
            near = (row / (rows - 1)) ** 1.7
            self._wave(near, top + (0.010 + 0.325 * near) * self.height_px)
            if row < 7:
                self._glints(near, top + (0.012 + 0.325 * near) * self.height_px)

    def _wave(self, near: float, y_px: float) -> None:
        unit_px = self.unit_px
        height_px = (0.004 + 0.044 * near) * unit_px
        length_px = (0.07 + 0.48 * near) * unit_px
        crest = self._crest(y_px, height_px, length_px)
        body = _between(_SEA, 0.06 + 0.86 * near)
        # Only the crest needs a smooth edge; all below it is a rectangle.
        under_px = min(self.height_px, math.ceil(max(y for _, y in crest)) + 1)
        self._fill([*crest, (self.width_px, under_px), (0, under_px)], body)
        ImageDraw.Draw(self.image).rectangle((0, under_px, self.width_px, self.height_px), fill=body)
        # Bands of lighter water hang from the crests, broad at the peaks and gone in the troughs.
        for reach, share in ((1.5, 0.16), (0.8, 0.26), (0.3, 0.46)):
            colour = _mixed(body, (150, 156, 190), share * (1.0 - 0.35 * near))
            lower = [(x, y + reach * max(0.0, y_px + 0.30 * height_px - y)) for x, y in crest]
            self._fill([*crest, *reversed(lower)], colour)
        peaks = [(x, y) for x, y in crest if y < y_px - 0.42 * height_px]
        self._foam(peaks, (0.0012 + 0.0075 * near) * unit_px, _mixed(_FOAM, body, 0.30 - 0.22 * near))

    def _crest(self, y_px: float, height_px: float, length_px: float) -> list[Point]:
        chance = self.chance
        phases = [chance.uniform(0.0, math.tau) for _ in range(4)]
        step_px = max(2.0, self.width_px / 360)
        crest: list[Point] = []
        for index in range(int(self.width_px / step_px) + 2):
            x = index * step_px
            swell = math.sin(x / length_px * math.tau + phases[0])
            # Crests are sharper than troughs.
            sharp = (1.0 - abs(swell)) ** 1.4 * 1.3 - 0.55
            slow = math.sin(x / (length_px * 3.1) * math.tau + phases[1])
            chop = math.sin(x / (length_px * 0.23) * math.tau + phases[2]) * 0.16
            ripple = math.sin(x / (length_px * 0.09) * math.tau + phases[3]) * 0.06
            crest.append((x, y_px - height_px * (sharp * (0.72 + 0.38 * slow) + 0.4 * slow + chop + ripple)))
        return crest

    def _foam(self, points: Sequence[Point], size_px: float, colour: Colour) -> None:
        """Foam that is torn off by the wind, to the right."""
        if size_px < 0.8:
            return
        pen = ImageDraw.Draw(self.image)
        chance = self.chance
        for x, y in points:
            for _ in range(5):
                far = chance.random() ** 2
                radius_px = size_px * chance.uniform(0.05, 0.26) * (1.0 - 0.6 * far)
                cx = x + (chance.uniform(-1.5, 1.5) + 4.0 * far) * size_px
                cy = y - size_px * (2.2 * far - 0.5 + chance.uniform(-0.3, 0.3))
                if radius_px >= 0.4:
                    wide = radius_px * chance.uniform(1.2, 3.4)
                    pen.ellipse((cx - wide, cy - radius_px, cx + wide, cy + radius_px), fill=colour)

    def _glints(self, near: float, y_px: float) -> None:
        """The sky's last light on the water."""
        pen = ImageDraw.Draw(self.image)
        for _ in range(26):
            x = self.chance.gauss(0.30, 0.24) * self.width_px
            y = y_px + self.chance.uniform(-0.3, 1.0) * 0.02 * self.unit_px * (0.3 + near)
            half_px = self.chance.uniform(0.004, 0.018) * self.unit_px * (0.4 + near)
            thick_px = max(1, round(0.0012 * self.unit_px))
            warm = _mixed((236, 164, 118), _between(_SEA, 0.1 + near), 0.35 + 0.5 * near)
            pen.line([(x - half_px, y), (x + half_px, y)], fill=warm, width=thick_px)

    # Rock and tower

    def rock(self) -> None:
        """What the tower stands on."""
        x, y = self.foot
        unit_px = self.unit_px
        outline = [
            (-0.36, 0.17), (-0.31, 0.115), (-0.27, 0.105), (-0.235, 0.065), (-0.19, 0.06), (-0.15, 0.02),
            (-0.105, 0.012), (-0.085, -0.012), (0.075, -0.014), (0.10, 0.012), (0.145, 0.018), (0.18, 0.06),
            (0.23, 0.07), (0.26, 0.115), (0.315, 0.13), (0.37, 0.19), (0.40, 0.24), (-0.42, 0.24),
        ]  # fmt: skip
        self._fill([(x + dx * unit_px, y + dy * unit_px) for dx, dy in outline], _ROCK)
        facets = [
            [(-0.235, 0.065), (-0.19, 0.06), (-0.16, 0.12), (-0.25, 0.15)],
            [(-0.15, 0.02), (-0.105, 0.012), (-0.06, 0.075), (-0.15, 0.115)],
            [(-0.085, -0.012), (-0.02, -0.013), (0.0, 0.05), (-0.055, 0.07)],
            [(0.02, 0.0), (0.075, -0.013), (0.10, 0.045), (0.03, 0.07)],
            [(0.145, 0.018), (0.18, 0.06), (0.16, 0.11), (0.105, 0.085)],
            [(-0.31, 0.115), (-0.27, 0.105), (-0.24, 0.165), (-0.34, 0.18)],
            [(0.23, 0.07), (0.26, 0.115), (0.25, 0.17), (0.18, 0.14)],
        ]
        for index, facet in enumerate(facets):
            colour = _mixed(_ROCK_LIT, _ROCK, 0.12 + 0.10 * index)
            self._fill([(x + dx * unit_px, y + dy * unit_px) for dx, dy in facet], colour)
        pen = ImageDraw.Draw(self.image)
        for _ in range(60):
            dx, dy = self.chance.uniform(-0.3, 0.3), self.chance.uniform(0.02, 0.2)
            if abs(dx) < 0.06 + dy * 1.3:
                start = (x + dx * unit_px, y + dy * unit_px)
                end = (
                    start[0] + self.chance.uniform(-0.03, 0.03) * unit_px,
                    start[1] + self.chance.uniform(0.01, 0.04) * unit_px,
                )
                pen.line([start, end], fill=_mixed(_ROCK_LIT, _ROCK, self.chance.random()), width=2)

    def tower(self) -> None:
        """White, with two red bands, a gallery and a lantern."""
        base_px, top_px = 0.062, 0.036
        shaft_top = 0.405
        bands = [(0.0, 0.10, 0), (0.10, 0.19, 1), (0.19, 0.28, 0), (0.28, 0.36, 1), (0.36, shaft_top, 0)]
        for low, high, kind in bands:
            half_low = base_px + (top_px - base_px) * (low / shaft_top) ** 0.8
            half_high = base_px + (top_px - base_px) * (high / shaft_top) ** 0.8
            corners = [(-half_low, low), (-half_high, high), (half_high, high), (half_low, low)]
            lit, shade = ((_WHITE, _SHADE), (_RED, _RED_SHADE))[kind]
            self._shaded(corners, half_low, lit, shade)
        for height, width in ((0.06, 0.012), (0.145, 0.008), (0.235, 0.008), (0.325, 0.007)):
            self._block(-0.004, height, width, height + width * 2.1, (250, 206, 128) if height > 0.1 else _IRON)
        self._lantern(shaft_top)

    def _lantern(self, low: float) -> None:
        # From below: corbel, deck, railing, glass, roof, ball.
        self._polygon([(-0.037, low), (-0.056, low + 0.018), (0.056, low + 0.018), (0.037, low)], _IRON)
        self._block(0.0, low + 0.018, 0.120, low + 0.026, _IRON)
        for index in range(11):
            self._block(-0.056 + index * 0.0112, low + 0.026, 0.0022, low + 0.050, _IRON)
        self._block(0.0, low + 0.048, 0.120, low + 0.0515, _IRON)
        self._block(0.0, low + 0.026, 0.058, low + 0.040, _SHADE)
        self._block(0.0, low + 0.040, 0.056, low + 0.094, (255, 240, 200))
        for offset in (-0.028, -0.0095, 0.0095, 0.028):
            self._block(offset, low + 0.036, 0.0028, low + 0.096, _IRON)
        roof = [(-0.038, low + 0.094), (-0.030, low + 0.106), (-0.016, low + 0.122), (-0.005, low + 0.131)]
        self._polygon([*roof, *((-dx, dy) for dx, dy in reversed(roof))], _RED_SHADE)
        self._polygon([*roof, (0.0, low + 0.131), (-0.008, low + 0.094)], _RED)
        self._block(0.0, low + 0.130, 0.0032, low + 0.162, _IRON)
        self._block(0.0, low + 0.131, 0.011, low + 0.138, _IRON)

    def _shaded(self, corners: Sequence[Point], half: float, lit: Colour, shade: Colour) -> None:
        """Fill a piece of the round shaft: lit from the left, where the sun went down."""
        strips = 14
        low, high = corners[0][1], corners[1][1]
        half_high = corners[2][0]
        for strip in range(strips):
            left, right = strip / strips * 2 - 1, (strip + 1) / strips * 2 - 1
            across = (strip + 0.5) / strips
            share = min(1.0, abs(across - 0.24) * 1.5) ** 1.15
            overlap = 0.02
            self._polygon(
                [
                    (left * half, low), (left * half_high, high),
                    (min(1.0, right + overlap) * half_high, high), (min(1.0, right + overlap) * half, low),
                ],
                _mixed(lit, shade, share),
            )  # fmt: skip

    def _polygon(self, points: Sequence[Point], colour: Colour) -> None:
        x, y = self.foot
        self._fill([(x + dx * self.unit_px, y - dy * self.unit_px) for dx, dy in points], colour)

    def _block(self, middle: float, low: float, width: float, high: float, colour: Colour) -> None:
        half = width / 2
        self._polygon(
            [(middle - half, low), (middle - half, high), (middle + half, high), (middle + half, low)], colour
        )

    def breakers(self) -> None:
        """The sea breaks at the rock, and a last wave rolls in front of all."""
        x, y = self.foot
        unit_px = self.unit_px
        self._spray((x - 0.27 * unit_px, y + 0.15 * unit_px), 0.165, 2600)
        self._spray((x + 0.27 * unit_px, y + 0.16 * unit_px), 0.115, 1500)
        self._spray((x - 0.04 * unit_px, y + 0.19 * unit_px), 0.06, 700)
        for near, drop in ((0.62, 0.185), (0.80, 0.245), (1.0, 0.325)):
            y_px = self.horizon_px + drop * self.height_px + 0.012 * unit_px
            self._wave(near, max(y_px, y + (0.165 + 0.10 * (near - 0.62)) * unit_px))

    def _spray(self, at: Point, reach: float, drops: int) -> None:
        """White water thrown up against the rock."""
        scale, chance = self.soft_scale, self.chance
        reach_px = reach * self.unit_px
        # The mist has a place of its own, so that each puff touches only that.
        place_px = (max(4, round(4.0 * reach_px * scale)), max(4, round(2.0 * reach_px * scale)))
        base = (place_px[0] / 2, place_px[1] * 0.72)
        mist = Image.new("L", place_px)
        for _ in range(110):
            # A fan of jets: many low ones, a few high ones.
            far = chance.random() ** 1.7
            angle = -math.pi / 2 + chance.gauss(0.0, 0.50)
            cx = base[0] + math.cos(angle) * far * reach_px * 1.25 * scale
            cy = base[1] + math.sin(angle) * far * reach_px * scale
            radius_px = (0.05 + 0.13 * (1.0 - far) * chance.random()) * reach_px * scale
            puff = Image.new("L", place_px)
            box = (cx - radius_px, cy - radius_px, cx + radius_px, cy + radius_px)
            ImageDraw.Draw(puff).ellipse(box, fill=round(58 * (1.0 - 0.7 * far)))
            mist = ImageChops.screen(mist, puff)
        mist = mist.filter(ImageFilter.GaussianBlur(max(0.8, reach_px * scale * 0.055)))
        size_px = (max(1, round(place_px[0] / scale)), max(1, round(place_px[1] / scale)))
        corner = (round(at[0] - base[0] / scale), round(at[1] - base[1] / scale))
        self.image.paste(
            _FOAM,
            (*corner, corner[0] + size_px[0], corner[1] + size_px[1]),
            mask=mist.resize(size_px, Image.Resampling.BICUBIC),
        )
        dots = ImageDraw.Draw(self.image)
        for _ in range(drops):
            angle = -math.pi / 2 + chance.gauss(0.0, 0.46)
            far = chance.random() ** 1.35 * 1.25
            cx = at[0] + (math.cos(angle) * far * 1.25 + 0.08 * far * far) * reach_px
            cy = at[1] + math.sin(angle) * far * reach_px
            radius_px = self.unit_px * chance.uniform(0.0003, 0.0011)
            colour = _mixed(_FOAM, (120, 116, 146), far * 0.6)
            dots.ellipse((cx - radius_px, cy - radius_px, cx + radius_px, cy + radius_px), fill=colour)

    # Craft

    def _fill(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon with smooth edges: its mask is drawn at twice the size, within its own bounds only."""
        left = max(0, math.floor(min(x for x, _ in points)))
        top = max(0, math.floor(min(y for _, y in points)))
        right = min(self.width_px, math.ceil(max(x for x, _ in points)) + 1)
        bottom = min(self.height_px, math.ceil(max(y for _, y in points)) + 1)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
        ImageDraw.Draw(mask).polygon([((x - left) * 2, (y - top) * 2) for x, y in points], fill=255)
        self.image.paste(colour, (left, top, right, bottom), mask.reduce(2))

    def finished(self) -> Image.Image:
        """Darken the corners, as a lens does."""
        light = Image.radial_gradient("L").resize(self.image.size, Image.Resampling.BILINEAR)
        shade = light.point([255 - round(max(0.0, (level - 90) / 165) ** 2 * 105) for level in range(256)])
        return ImageChops.multiply(self.image, Image.merge("RGB", (shade, shade, shade)))


def _gradient(stops: Sequence[tuple[float, Colour]], size: tuple[int, int]) -> Image.Image:
    column = Image.new("RGB", (1, 256))
    for row in range(256):
        column.putpixel((0, row), _between(stops, row / 255))
    return column.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BILINEAR)


def _between(stops: Sequence[tuple[float, Colour]], at: float) -> Colour:
    for (low, below), (high, above) in pairwise(stops):
        if at <= high:
            return _mixed(below, above, max(0.0, (at - low) / (high - low)))
    return stops[-1][1]


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    share = min(1.0, max(0.0, share))
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _noise(chance: random.Random, size: tuple[int, int], *, stretch: float, octaves: int) -> Image.Image:
    """Clouds: ever finer random fields, each half as strong, drawn out sideways; mode L."""
    total = Image.new("L", size, 128)
    for octave in range(octaves):
        across = max(2, round(2**octave * 2 * size[0] / max(size) * 2 / stretch) + 1)
        down = max(2, round(2**octave * 2 * size[1] / max(size)) + 1)
        field = Image.frombytes("L", (across, down), chance.randbytes(across * down))
        field = field.resize(size, Image.Resampling.BICUBIC)
        strength = 0.78 * 0.56**octave
        half = field.point([round((level - 127.5) * strength + 128) for level in range(256)])
        total = ImageChops.add(total, half, scale=1, offset=-128)
    return total


def _fading(size: tuple[int, int], at: Point, reach_px: float) -> Image.Image:
    """Light that is full at a point and gone at a distance; mode L."""
    side = max(2, round(2 * reach_px))
    # Pillow's radial gradient is 0 in the middle and 255 where the circle touches the square.
    disc = Image.radial_gradient("L").resize((side, side), Image.Resampling.BILINEAR)
    disc = disc.point([max(0, 255 - round(level * math.sqrt(2))) for level in range(256)])
    field = Image.new("L", size)
    field.paste(disc, (round(at[0] - side / 2), round(at[1] - side / 2)))
    return field
