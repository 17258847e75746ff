"""The layouts: each draws one ad on a canvas of its own size.

A layout places words and pictures; the ad brings the words and the brand's look, the random generator the decoration.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from adset.canvas import Box, Canvas, Horizontal, Point, Style, arc
from adset.color import Color, mix
from adset.components import (
    BOLD,
    REGULAR,
    Block,
    draw_badge,
    draw_column,
    draw_logo,
    draw_mark,
    draw_pattern,
    draw_stage,
    draw_stars,
)
from adset.content import Ad
from adset.illustration import draw_illustration
from adset.typesetting import Face


def draw_ad(ad: Ad, rng: Random, layout: str | None = None) -> Canvas:
    """Draw `ad` in its own layout, or in the one named."""
    return LAYOUTS[layout or ad.layout](ad, rng)


def headline(ad: Ad, size: int, color: Color, share: float, *, align: Horizontal = "left", gap: float = 18) -> Block:
    return Block(ad.headline, Style(ad.brand.face, size, color, align, leading=1.14), share, gap)


def body(ad: Ad, size: int, color: Color, share: float, *, align: Horizontal = "left", gap: float = 26) -> Block:
    return Block(ad.body, Style(REGULAR, size, color, align, leading=1.32), share, gap)


def button(ad: Ad, size: int, fill: Color, ink: Color, *, share: float = 0.2, align: Horizontal = "left") -> Block:
    return Block(ad.cta, Style(BOLD, size, ink, align), share, fill=fill)


def draw_picture(canvas: Canvas, box: Box, ad: Ad, stage: Color, rng: Random) -> None:
    """Draw the ad's illustration on its stage."""
    draw_stage(canvas, box, stage, rng)
    square = box.square()
    draw_illustration(canvas, ad.illustration, square.inset(square.w * 0.15), ad.palette.for_illustration())


def hero(ad: Ad, rng: Random) -> Canvas:
    """A large picture above centered words."""
    look, canvas = ad.palette, Canvas(900, 900, ad.palette.ground)
    draw_pattern(canvas, canvas.box, look.soft, rng)
    draw_logo(canvas, Box(40, 36, 820, 44), ad.brand, color=look.ink, ground=look.ground, align="center")
    draw_picture(canvas, Box(0, 102, 900, 430), ad, look.stage, rng)
    blocks = [
        headline(ad, 68, look.ink, 0.45, align="center", gap=12),
        body(ad, 30, look.ink, 0.33, align="center", gap=22),
        button(ad, 30, look.accent, look.on_accent, share=0.22, align="center"),
    ]
    draw_column(canvas, Box(80, 552, 740, 312), blocks, "middle")
    if ad.offer:
        draw_badge(canvas, (760, 210), 104, ad.offer, fill=look.pop, ink=look.on_pop, turn=rng.uniform(-14, 14))
    return canvas


def split(ad: Ad, rng: Random) -> Canvas:
    """Words on a colored half, the picture on the other."""
    look, canvas = ad.palette, Canvas(1080, 810, ad.palette.ground)
    words, picture = canvas.box.cut_left(540)
    if rng.random() < 0.5:
        picture, words = canvas.box.cut_left(540)
    canvas.gradient(picture, mix(look.stage, "#ffffff", 0.35), look.stage)
    canvas.rounded(words, 0, look.accent)
    draw_illustration(canvas, ad.illustration, picture.inset(60), look.for_illustration())
    inner = words.inset(54)
    draw_logo(canvas, inner.cut_top(40)[0], ad.brand, color=look.on_accent, ground=look.accent)
    blocks = [
        headline(ad, 66, look.on_accent, 0.55),
        body(ad, 28, look.on_accent, 0.3),
        button(ad, 28, look.ground, look.ink, share=0.15),
    ]
    draw_column(canvas, inner.cut_top(80)[1], blocks, "bottom")
    return canvas


def story(ad: Ad, rng: Random) -> Canvas:
    """A full-screen story, 9:16, with the bars and names of a story viewer."""
    look, canvas = ad.palette, Canvas(720, 1280, ad.palette.ground)
    canvas.gradient(canvas.box, look.ground, mix(look.ground, look.stage, 0.4), diagonal=True)
    draw_pattern(canvas, Box(0, 300, 720, 980), mix(look.ground, look.soft, 0.7), rng)
    _draw_story_bar(canvas, ad, rng.randint(1, 3))
    blocks = [headline(ad, 76, look.ink, 0.6, align="center"), body(ad, 32, look.ink, 0.4, align="center")]
    draw_column(canvas, Box(56, 160, 608, 390), blocks, "middle")
    draw_picture(canvas, Box(110, 575, 500, 500), ad, look.stage, rng)
    if ad.offer:
        draw_badge(canvas, (590, 620), 92, ad.offer, fill=look.pop, ink=look.on_pop, turn=rng.uniform(-14, 14))
    canvas.stroke([(336, 1128), (360, 1106), (384, 1128)], 7, look.ink)
    draw_column(
        canvas,
        Box(80, 1144, 560, 84),
        [button(ad, 32, look.accent, look.on_accent, share=1.0, align="center")],
        "middle",
    )
    return canvas


def _draw_story_bar(canvas: Canvas, ad: Ad, seen: int) -> None:
    look = ad.palette
    for index in range(4):
        segment = Box(28 + index * 168, 26, 160, 6)
        canvas.rounded(segment, 3, look.ink if index < seen else mix(look.ground, look.ink, 0.35))
    draw_logo(canvas, Box(32, 54, 400, 46), ad.brand, color=look.ink, ground=look.ground)
    canvas.text(Box(430, 54, 258, 46), "Sponsored", Style(REGULAR, 24, look.ink, "right", "middle"))


def banner(ad: Ad, rng: Random) -> Canvas:
    """A wide banner with a slanted picture panel."""
    look, canvas = ad.palette, Canvas(1200, 628, ad.palette.ground)
    draw_pattern(canvas, Box(0, 0, 760, 628), mix(look.ground, look.soft, 0.6), rng)
    canvas.polygon([(760, 0), (1200, 0), (1200, 628), (640, 628)], look.pop)
    canvas.polygon([(784, 0), (1200, 0), (1200, 628), (664, 628)], look.stage)
    draw_illustration(canvas, ad.illustration, Box(744, 100, 430, 430), look.for_illustration())
    draw_logo(canvas, Box(56, 48, 520, 42), ad.brand, color=look.ink, ground=look.ground)
    blocks = [
        headline(ad, 68, look.ink, 0.5),
        body(ad, 28, look.ink, 0.3),
        button(ad, 28, look.accent, look.on_accent, share=0.2),
    ]
    draw_column(canvas, Box(56, 122, 560, 450), blocks, "middle")
    if ad.offer:
        draw_badge(canvas, (1094, 112), 92, ad.offer, fill=look.accent, ink=look.on_accent, turn=rng.uniform(-14, 14))
    return canvas


def feed(ad: Ad, rng: Random) -> Canvas:
    """A sponsored post as a feed shows it: avatar, text, picture, link and reactions."""
    look, canvas = ad.palette, Canvas(840, 1160, "#ffffff")
    canvas.disc((76, 72), 40, look.accent)
    draw_mark(canvas, (76, 72), 21, ad.brand.mark, color=look.on_accent, ground=look.accent)
    canvas.text(Box(134, 34, 560, 40), ad.brand.name, Style(BOLD, 30, "#1c1e21", valign="middle"))
    canvas.text(Box(134, 74, 560, 34), "Sponsored", Style(REGULAR, 24, "#606770", valign="middle"))
    for x in (766, 786, 806):
        canvas.disc((x, 66), 4, "#606770")
    canvas.text(Box(36, 128, 768, 130), ad.body, Style(REGULAR, 29, "#1c1e21", valign="middle", leading=1.3))
    _draw_post_picture(canvas, Box(0, 274, 840, 640), ad, rng)
    canvas.rounded(Box(0, 914, 840, 130), 0, "#f0f2f5")
    canvas.text(Box(36, 928, 500, 34), ad.brand.site.upper(), Style(REGULAR, 22, "#606770", valign="middle"))
    canvas.text(Box(36, 962, 500, 66), ad.headline, Style(BOLD, 28, "#1c1e21", valign="middle", leading=1.15))
    canvas.rounded(Box(576, 944, 228, 70), 10, "#d8dadf")
    canvas.text(Box(588, 944, 204, 70), ad.cta, Style(BOLD, 27, "#1c1e21", "center", "middle"))
    _draw_reactions(canvas, Box(0, 1052, 840, 96))
    return canvas


def _draw_post_picture(canvas: Canvas, box: Box, ad: Ad, rng: Random) -> None:
    look = ad.palette
    canvas.gradient(box, look.ground, look.soft)
    picture = Canvas(box.w, box.h, look.ground)
    draw_pattern(picture, picture.box, look.soft, rng)
    draw_picture(picture, Box(190, 150, 460, 460), ad, look.stage, rng)
    style = Style(ad.brand.face, 54, look.ink, "center", "middle", leading=1.14)
    picture.text(Box(50, 20, 740, 130), ad.headline, style)
    canvas.paste(picture, (box.x, box.y))


def _draw_reactions(canvas: Canvas, box: Box) -> None:
    gray = {"main": "#606770", "light": "#ffffff"}
    for index, (sign, word) in enumerate((("heart", "Like"), ("bubble", "Comment"), ("arrow", "Share"))):
        cell = Box(box.x + index * box.w / 3, box.y, box.w / 3, box.h)
        draw_illustration(canvas, sign, Box(cell.x + 44, cell.center[1] - 17, 34, 34), gray)
        canvas.text(Box(cell.x + 92, cell.y, 180, cell.h), word, Style(BOLD, 26, "#606770", valign="middle"))


def price(ad: Ad, rng: Random) -> Canvas:
    """A product on a light ground with a large price tag, as in a marketplace."""
    look, canvas = ad.palette, Canvas(900, 900, "#ffffff")
    top, strip = canvas.box.cut_top(600)
    canvas.gradient(top, "#ffffff", mix(look.stage, "#ffffff", 0.45))
    draw_illustration(canvas, ad.illustration, Box(60, 96, 500, 500), look.for_illustration())
    draw_logo(canvas, Box(44, 36, 500, 42), ad.brand, color=look.dark, ground="#ffffff")
    _draw_price_tag(canvas, ad, rng.uniform(-7, 7))
    canvas.rounded(strip, 0, look.accent)
    blocks = [headline(ad, 52, look.on_accent, 0.55, gap=12), body(ad, 28, look.on_accent, 0.45, gap=0)]
    draw_column(canvas, Box(44, 624, 530, 252), blocks, "middle")
    cta = [button(ad, 28, look.ground, look.ink, share=1.0, align="right")]
    draw_column(canvas, Box(580, 624, 276, 252), cta, "middle")
    return canvas


def _draw_price_tag(canvas: Canvas, ad: Ad, turn: float) -> None:
    """Draw the offer on a tag with a hole and a string."""
    look, tag = ad.palette, Canvas(340, 220, None)
    tag.polygon([(60, 10), (330, 10), (330, 210), (60, 210), (4, 110)], look.pop)
    tag.disc((48, 110), 14, look.light)
    words = Style(Face(weight=0.05), 110, look.on_pop, "center", "middle", leading=1.1)
    tag.text(Box(78, 30, 240, 160), ad.offer or ad.cta, words)
    canvas.paste_turned(tag, (694, 258), turn)
    hole = arc((694, 258), 122, 0.5 - turn / 360, 0, steps=1)[0]
    canvas.stroke([(540, 0), (600, 110), hole], 4, look.dark)


def testimonial(ad: Ad, rng: Random) -> Canvas:
    """A customer's words on a card, with stars and a name."""
    look, canvas = ad.palette, Canvas(864, 1080, ad.palette.stage)
    canvas.gradient(canvas.box, mix(look.stage, "#ffffff", 0.3), look.stage)
    draw_pattern(canvas, canvas.box, mix(look.stage, "#ffffff", 0.35), rng)
    card = Box(60, 210, 744, 620)
    canvas.shadow(card, 36)
    canvas.rounded(card, 36, "#ffffff")
    draw_illustration(canvas, ad.illustration, Box(322, 40, 220, 220), look.for_illustration())
    draw_stars(canvas, (card.x + 56, card.y + 70), 46, "#e69f00")
    quote = Style(Face(weight=0.014, slant=0.1), 58, look.dark, leading=1.28)
    blocks = [
        Block(f'"{ad.headline}"', quote, 0.8, 24),
        Block(f"- {ad.by}" if ad.by else ad.brand.name, Style(BOLD, 30, look.dark), 0.2),
    ]
    draw_column(canvas, Box(card.x + 56, card.y + 148, 632, 430), blocks)
    canvas.text(Box(60, 850, 744, 46), ad.body, Style(BOLD, 30, look.dark, "center", "middle"))
    draw_logo(canvas, Box(60, 940, 380, 60), ad.brand, color=look.dark, ground=look.stage)
    dark_button = button(ad, 30, look.dark, "#ffffff", share=1.0, align="right")
    draw_column(canvas, Box(460, 920, 344, 100), [dark_button], "middle")
    return canvas


def minimal(ad: Ad, rng: Random) -> Canvas:
    """Much air, a small picture, a quiet line."""
    look, canvas = ad.palette, Canvas(864, 1080, ad.palette.ground)
    canvas.gradient(canvas.box, look.ground, mix(look.ground, look.soft, 0.9))
    draw_picture(canvas, Box(242, 130, 380, 380), ad, look.stage, rng)
    blocks = [
        headline(ad, 62, look.ink, 0.5, align="center", gap=24),
        body(ad, 28, look.ink, 0.34, align="center", gap=34),
        Block(ad.cta, Style(Face(weight=0.02, tracking=0.06), 28, look.ink, "center"), 0.16),
    ]
    draw_column(canvas, Box(100, 560, 664, 330), blocks, "middle")
    canvas.stroke([(392, 912), (472, 912)], 3, look.ink)
    draw_logo(
        canvas,
        Box(100, 960, 664, 46),
        ad.brand,
        color=look.ink,
        ground=mix(look.ground, look.soft, 0.9),
        align="center",
    )
    return canvas


def poster(ad: Ad, rng: Random) -> Canvas:
    """Rays behind the picture, a headline that shouts, a badge."""
    look, canvas = ad.palette, Canvas(864, 1080, ad.palette.ground)
    _draw_rays(canvas, (432, 640), look.soft, rng.random() / 12)
    loud = Face(weight=0.05, stretch=0.8 if ad.brand.face.stretch < 1 else 0.92, slant=ad.brand.face.slant, upper=True)
    style = Style(loud, 128, look.ink, "center", leading=1.1)
    draw_column(canvas, Box(50, 104, 764, 290), [Block(ad.headline, style, 1.0)], "middle")
    draw_logo(canvas, Box(50, 40, 764, 44), ad.brand, color=look.ink, ground=look.ground, align="center")
    draw_picture(canvas, Box(212, 410, 440, 440), ad, look.stage, rng)
    if ad.offer:
        draw_badge(canvas, (690, 500), 118, ad.offer, fill=look.pop, ink=look.on_pop, turn=rng.uniform(-16, 16))
    canvas.rounded(Box(0, 880, 864, 200), 0, look.accent)
    words = Style(REGULAR, 30, look.on_accent, valign="middle", leading=1.3)
    canvas.text(Box(48, 894, 470, 172), ad.body, words)
    draw_column(
        canvas, Box(536, 894, 288, 172), [button(ad, 30, look.ground, look.ink, share=1.0, align="right")], "middle"
    )
    return canvas


def _draw_rays(canvas: Canvas, center: Point, color: Color, turn: float) -> None:
    for index in range(12):
        start = turn + index / 12
        canvas.polygon([center, *arc(center, 1400, start, start + 1 / 24, steps=1)], color)


def tiles(ad: Ad, rng: Random) -> Canvas:
    """A square of tiles: the picture in several colorings, and the words."""
    look, canvas = ad.palette, Canvas(960, 960, ad.palette.ground)
    stages = [look.stage, mix(look.stage, "#ffffff", 0.5), mix(look.pop, "#ffffff", 0.35)]
    rng.shuffle(stages)
    mains = [look.accent, mix(look.accent, look.pop, 0.5), mix(look.accent, "#000000", 0.35)]
    for index, (stage, main) in enumerate(zip(stages, mains, strict=True)):
        tile = Box(30 + index * 304, 30, 292, 380)
        canvas.rounded(tile, 24, stage)
        draw_illustration(canvas, ad.illustration, tile.inset(36), look.for_illustration(main))
    words = Box(30, 424, 900, 506)
    canvas.rounded(words, 24, look.soft)
    draw_logo(canvas, Box(78, 462, 500, 44), ad.brand, color=look.ink, ground=look.soft)
    blocks = [
        headline(ad, 72, look.ink, 0.5),
        body(ad, 31, look.ink, 0.3),
        button(ad, 30, look.accent, look.on_accent, share=0.2),
    ]
    draw_column(canvas, Box(78, 530, 804, 364), blocks, "middle")
    return canvas


LAYOUTS: dict[str, Callable[[Ad, Random], Canvas]] = {
    layout.__name__: layout for layout in (hero, split, story, banner, feed, price, testimonial, minimal, poster, tiles)
}
