"""Texts on which small models are compared."""

TEXTS = [
    f"{colour} {shape} {place}"
    for colour in ("красный", "синий", "зелёный", "a red", "a blue")
    for shape in ("круг", "квадрат", "square", "circle")
    for place in ("слева", "on the left", "")
]
