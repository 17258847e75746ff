"""Screens that show nothing but the interface of an app: what a screen recorder catches between two ads."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from adset.canvas import Box, Canvas, Style, arc
from adset.color import Color
from adset.components import BOLD, REGULAR
from adset.typesetting import Face

WIDTH, HEIGHT = 720, 1280
INK, QUIET, LINE, BLUE = "#16181d", "#6b7280", "#e3e5ea", "#0068a8"
TINTS = ("#0068a8", "#e69f00", "#5b3a9e", "#00606f", "#b83b0a", "#56b4e9", "#6b7280", "#22201c")
TITLE = Style(Face(weight=0.03), 46, INK, valign="middle")
ROW = Style(REGULAR, 31, INK, valign="middle")
NOTE = Style(REGULAR, 25, QUIET, valign="middle")


def draw_screen(name: str, rng: Random) -> Canvas:
    """Draw the interface screen called `name`."""
    return SCREENS[name](rng)


def _blank_screen(rng: Random, ground: Color = "#ffffff") -> Canvas:
    canvas = Canvas(WIDTH, HEIGHT, ground)
    clock = f"{rng.randint(7, 22)}:{rng.randint(0, 59):02d}"
    canvas.text(Box(36, 16, 200, 36), clock, Style(BOLD, 25, INK, valign="middle"))
    canvas.frame(Box(634, 22, 48, 24), 7, 2.5, INK)
    canvas.rounded(Box(639, 27, 38 * rng.uniform(0.3, 1), 14), 3, INK)
    for bar in range(4):
        canvas.rounded(Box(584 + bar * 10, 42 - bar * 5, 6, 5 + bar * 5), 2, INK)
    return canvas


def settings(rng: Random) -> Canvas:
    """A list of settings with switches and chevrons."""
    canvas = _blank_screen(rng, "#f3f4f7")
    canvas.text(Box(36, 76, 640, 70), "Settings", TITLE)
    canvas.rounded(Box(36, 160, 648, 66), 18, "#e3e5ea")
    canvas.text(Box(66, 160, 500, 66), "Search settings", NOTE)
    names = ["Wi-Fi", "Bluetooth", "Notifications", "Display", "Sound", "Battery", "Privacy", "Storage", "Language"]
    canvas.rounded(Box(36, 254, 648, 104 * len(names)), 24, "#ffffff")
    for index, name in enumerate(names):
        _draw_setting(canvas, Box(36, 254 + index * 104, 648, 104), name, TINTS[index % len(TINTS)], rng)
    return canvas


def _draw_setting(canvas: Canvas, row: Box, name: str, tint: Color, rng: Random) -> None:
    middle = row.center[1]
    canvas.rounded(Box(row.x + 28, middle - 27, 54, 54), 14, tint)
    canvas.disc((row.x + 55, middle), 11, "#ffffff")
    canvas.text(Box(row.x + 108, row.y, 360, row.h), name, ROW)
    if rng.random() < 0.5:
        is_on = rng.random() < 0.6
        canvas.rounded(Box(row.x + 536, middle - 24, 84, 48), 24, BLUE if is_on else "#c4c8d0")
        canvas.disc((row.x + (596 if is_on else 560), middle), 20, "#ffffff")
    else:
        canvas.stroke([(row.x + 596, middle - 14), (row.x + 610, middle), (row.x + 596, middle + 14)], 4, "#9aa1ad")
    canvas.rounded(Box(row.x + 108, row.y + row.h - 2, 520, 2), 0, LINE)


def login(rng: Random) -> Canvas:
    """A form that asks for a name and a password."""
    canvas = _blank_screen(rng)
    canvas.disc((360, 270), 74, "#e3e5ea")
    canvas.disc((360, 248), 28, "#9aa1ad")
    canvas.polygon(arc((360, 330), 48, 0.5, 1.0), "#9aa1ad")
    canvas.text(Box(60, 370, 600, 70), "Log in to continue", Style(BOLD, 46, INK, "center", "middle"))
    for index, label in enumerate(("Email or phone number", "Password")):
        field = Box(60, 490 + index * 124, 600, 96)
        canvas.frame(field, 18, 2.5, "#c4c8d0")
        canvas.text(field.inset(30, 0), label, Style(REGULAR, 30, QUIET, valign="middle"))
    canvas.rounded(Box(60, 752, 600, 96), 48, BLUE)
    canvas.text(Box(60, 752, 600, 96), "Log in", Style(BOLD, 34, "#ffffff", "center", "middle"))
    canvas.text(Box(60, 876, 600, 60), "Forgot password?", Style(REGULAR, 29, BLUE, "center", "middle"))
    canvas.rounded(Box(60, 1060, 600, 2), 0, LINE)
    canvas.frame(Box(60, 1100, 600, 92), 46, 2.5, BLUE)
    canvas.text(Box(60, 1100, 600, 92), "Create new account", Style(BOLD, 31, BLUE, "center", "middle"))
    return canvas


def home(rng: Random) -> Canvas:
    """A grid of apps, one of them still loading."""
    canvas = _blank_screen(rng)
    canvas.gradient(Box(0, 64, WIDTH, HEIGHT - 64), "#dfeaf4", "#b9cfe4")
    names = [
        "Mail",
        "Photos",
        "Maps",
        "Clock",
        "Notes",
        "Music",
        "Files",
        "Camera",
        "Weather",
        "Store",
        "Wallet",
        "Books",
    ]
    rng.shuffle(names)
    for index, name in enumerate(names):
        left, top = 52 + index % 4 * 160, 130 + index // 4 * 230
        canvas.rounded(Box(left, top, 132, 132), 32, TINTS[index % len(TINTS)])
        _draw_glyph(canvas, (left + 66, top + 66), index)
        canvas.text(Box(left - 12, top + 138, 156, 44), name, Style(REGULAR, 26, INK, "center", "middle"))
    for index in range(10):
        fade = 0.12 + 0.88 * index / 10
        start = arc((360, 930), 30, index / 10, 0, steps=1)[0]
        canvas.disc(start, 7, INK, fade)
    canvas.text(Box(160, 980, 400, 50), "Loading...", Style(REGULAR, 29, INK, "center", "middle"))
    canvas.rounded(Box(36, 1096, 648, 150), 44, "#ffffff", 0.5)
    for index in range(4):
        canvas.rounded(Box(68 + index * 156, 1116, 112, 112), 28, TINTS[-1 - index])
        _draw_glyph(canvas, (124 + index * 156, 1172), index + 1)
    return canvas


def _draw_glyph(canvas: Canvas, center: tuple[float, float], kind: int) -> None:
    x, y = center
    if kind % 4 == 0:
        canvas.rounded(Box(x - 36, y - 24, 72, 48), 8, "#ffffff")
    elif kind % 4 == 1:
        canvas.disc(center, 32, "#ffffff")
    elif kind % 4 == 2:
        canvas.polygon([(x - 32, y + 28), (x, y - 32), (x + 32, y + 28)], "#ffffff")
    else:
        canvas.ring(center, 32, 12, "#ffffff")


def chats(rng: Random) -> Canvas:
    """A list of conversations."""
    canvas = _blank_screen(rng)
    canvas.text(Box(36, 76, 400, 70), "Chats", TITLE)
    people = ["Mum", "Ana", "Work group", "Yusuf", "Book club", "Lena", "Neighbors", "Tom"]
    lines = [
        "See you at six",
        "Thanks!",
        "Photo",
        "Call me later",
        "Typing...",
        "Voice message",
        "Ok, done",
        "Missed call",
    ]
    rng.shuffle(people)
    rng.shuffle(lines)
    for index, (person, line) in enumerate(zip(people, lines, strict=True)):
        top = 172 + index * 120
        canvas.disc((84, top + 56), 44, TINTS[index % len(TINTS)])
        canvas.text(Box(44, top + 12, 80, 88), person[0], Style(BOLD, 40, "#ffffff", "center", "middle"))
        canvas.text(Box(152, top + 10, 400, 46), person, Style(BOLD, 31, INK, valign="middle"))
        canvas.text(Box(152, top + 56, 420, 42), line, NOTE)
        clock = f"{rng.randint(7, 21)}:{rng.randint(10, 59)}"
        canvas.text(Box(560, top + 10, 124, 46), clock, Style(REGULAR, 25, QUIET, "right", "middle"))
        if rng.random() < 0.35:
            canvas.disc((660, top + 76), 14, BLUE)
    canvas.rounded(Box(0, 1150, WIDTH, 130), 0, "#f3f4f7")
    for index, tab in enumerate(("Chats", "Calls", "People", "Profile")):
        color = BLUE if index == 0 else QUIET
        canvas.disc((90 + index * 180, 1190), 14, color)
        canvas.text(Box(index * 180, 1212, 180, 46), tab, Style(REGULAR, 25, color, "center", "middle"))
    return canvas


SCREENS: dict[str, Callable[[Random], Canvas]] = {screen.__name__: screen for screen in (settings, login, home, chats)}
